"""What a process is handed before it works, and what it says of itself: settings, and how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from quasar.convert.manifest import plain_to_value
from quasar.plugins.code import CodeVersion
from quasar.plugins.jail.spec import Limits
from quasar.plugins.settings import ProcessSettings
from quasar_proto.plugin.v1 import plugin_pb2


class Fitness(Enum):
    """Whether a plug-in can work, by its own account."""

    WELL = "WELL"
    DEGRADED = "DEGRADED"
    """It works with a restriction."""
    UNAVAILABLE = "UNAVAILABLE"
    """It cannot work, and starting it again would not help."""


_FITNESS = {
    plugin_pb2.PLUGIN_STATE_DEGRADED: Fitness.DEGRADED,
    plugin_pb2.PLUGIN_STATE_UNAVAILABLE: Fitness.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """How a plug-in is."""

    fitness: Fitness = Fitness.WELL
    detail: str = ""
    """What is wrong and what helps; empty when nothing is."""

    @classmethod
    def told(cls, answer: plugin_pb2.HealthResponse) -> Condition:
        """Read an answer; a state that is not known here counts as well."""
        return cls(_FITNESS.get(answer.state, Fitness.WELL), answer.detail[:2000])


def configure_request(
    code: CodeVersion,
    settings: ProcessSettings,
    limits: Limits,
    scratch: str,
    secrets: Mapping[str, str],
    preferences: Mapping[str, Any],
) -> plugin_pb2.ConfigureRequest:
    """Return the message that hands over settings; its time and generation are still to be set.

    Args:
        code: What the process runs.
        settings: How it is run.
        limits: What it may use.
        scratch: Its own folder.
        secrets: Their values by name.
        preferences: Nested as their paths.
    """
    info = plugin_pb2.HostInfo(
        service=settings.service,
        platform_version=settings.platform_version,
        instance_id=settings.instance_id,
        code_version=code.version,
        scratch_folder=scratch,
        scratch_bytes=limits.scratch_bytes,
        memory_bytes=limits.memory_bytes,
        log_level=settings.log_level,
        validating=settings.validating,
    )
    request = plugin_pb2.ConfigureRequest(secrets=dict(secrets), host=info)
    for name, value in preferences.items():
        request.preferences.fields[name].CopyFrom(plain_to_value(value))
    return request
