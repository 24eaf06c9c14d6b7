"""What a process is handed, and what it says of itself."""

from __future__ import annotations

import pytest

from quasar.plugins.code import CodeVersion
from quasar.plugins.handover import Condition, Fitness, configure_request
from quasar.plugins.jail.spec import Limits
from quasar.plugins.manifest import Kind
from quasar.plugins.settings import ProcessSettings
from quasar_proto.plugin.v1 import plugin_pb2


def test_a_process_is_told_who_runs_it_and_where_it_may_write() -> None:
    code = CodeVersion(kind=Kind.PROVIDER, name="p", version=4, builtin="m:C")
    settings = ProcessSettings(service="datahub", platform_version="1.2.3", instance_id="i")
    limits = Limits(scratch_bytes=5, memory_bytes=7)
    request = configure_request(code, settings, limits, "/run/p/scratch", {"key": "k"}, {"depth": 10})
    host = request.host
    assert (host.service, host.platform_version, host.instance_id, host.code_version) == ("datahub", "1.2.3", "i", 4)
    assert (host.scratch_folder, host.scratch_bytes, host.memory_bytes) == ("/run/p/scratch", 5, 7)
    assert (dict(request.secrets), request.preferences["depth"]) == ({"key": "k"}, 10)


@pytest.mark.parametrize(
    ("state", "fitness"),
    [
        (plugin_pb2.PLUGIN_STATE_READY, Fitness.WELL),
        (plugin_pb2.PLUGIN_STATE_DEGRADED, Fitness.DEGRADED),
        (plugin_pb2.PLUGIN_STATE_UNAVAILABLE, Fitness.UNAVAILABLE),
        (99, Fitness.WELL),
    ],
)
def test_how_a_plug_in_is_is_read_from_its_answer(state: int, fitness: Fitness) -> None:
    answer = plugin_pb2.HealthResponse(state=state, detail="why")  # type: ignore[arg-type]  # a newer one may come
    assert Condition.told(answer) == Condition(fitness, "why")
