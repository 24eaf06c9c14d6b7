"""Secrets and preferences of code that the platform has, through the Registry's `CodeService`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quasar.client.channel import Channel
from quasar.convert.manifest import plain_to_value, value_to_plain
from quasar.plugins.manifest import Kind
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from quasar_proto.registry.v1 import code_service_pb2_grpc

_APPLIED_S: Final = 60.0
"""A change is handed to the running process before it is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceSetting:
    """One preference and what holds for it."""

    path: str
    """Where it stands, with dots: `scheduling.delay_hours`."""
    value: Any
    """What holds; None: not set."""
    stored: bool
    """Whether somebody has set it; else the value is the default."""
    unit: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSetting:
    """The name of a secret; its value never comes back."""

    name: str
    stored: bool
    required: bool
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSettings:
    """What an operator may change of a provider, broker or strategy."""

    preferences: tuple[PreferenceSetting, ...]
    secrets: tuple[SecretSetting, ...]


class CodeSettingsClient:
    """Reads and changes settings; changing them needs an administrator's token."""

    def __init__(self, channel: Channel) -> None:
        """Call the Registry through `channel`."""
        self._stub: Any = channel.stub(code_service_pb2_grpc.CodeServiceStub)

    async def read(self, kind: Kind, name: str) -> CodeSettings:
        """Return the settings of a piece of code.

        Raises:
            NotFound: There is none of that kind and name.
            QuasarError: Whatever else the Registry answers.
        """
        ref = _ref(kind, name)
        schema = await self._stub.GetPreferencesSchema(pb.GetPreferencesSchemaRequest(ref=ref))
        held = (await self._stub.GetPreferences(pb.GetPreferencesRequest(ref=ref))).preferences
        names = await self._stub.ListSecretNames(pb.ListSecretNamesRequest(ref=ref))
        effective, stored = _plain(held.effective), _plain(held.stored)
        return CodeSettings(
            preferences=tuple(
                PreferenceSetting(
                    path=field.path,
                    value=_at(effective, field.path),
                    stored=_at(stored, field.path) is not None,
                    unit=field.unit,
                    description=field.description,
                )
                for field in schema.fields
            ),
            secrets=tuple(
                SecretSetting(name=one.name, stored=one.stored, required=one.required, description=one.description)
                for one in names.secrets
            ),
        )

    async def change(self, kind: Kind, name: str, values: Mapping[str, Any]) -> str:
        """Change preferences by their paths, all or none; return what the change waits for, empty when it is in effect.

        Args:
            kind: Of the code.
            name: Of the code.
            values: By path; None takes a stored value away, so that the default holds again.

        Raises:
            NotFound: There is none of that kind and name.
            InvalidArgument: A field is unknown, of the wrong type or out of bounds; the message names it.
            QuasarError: Whatever else the Registry answers.
        """
        request = pb.UpdatePreferencesRequest(ref=_ref(kind, name))
        request.preferences.CopyFrom(plain_to_value(_nested(values)).struct_value)
        answer = await self._stub.UpdatePreferences(request, timeout=_APPLIED_S)
        return str(answer.apply.detail)

    async def replace_secrets(self, kind: Kind, name: str, secrets: Mapping[str, str]) -> str:
        """Replace all stored secrets; return what the change waits for, empty when it is in effect.

        Raises:
            NotFound: There is none of that kind and name.
            InvalidArgument: A name is not legal, a value is empty, or a required one is missing.
            QuasarError: Whatever else the Registry answers.
        """
        request = pb.ReplaceSecretsRequest(ref=_ref(kind, name), secrets=dict(secrets))
        answer = await self._stub.ReplaceSecrets(request, timeout=_APPLIED_S)
        return str(answer.apply.detail)


def _ref(kind: Kind, name: str) -> code_pb2.CodeRef:
    return code_pb2.CodeRef(kind=values_pb2.CodeKind.Value(f"CODE_KIND_{kind.name}"), name=name)


def _plain(values: Any) -> dict[str, Any]:
    return {name: value_to_plain(one) for name, one in values.fields.items()}


def _at(values: Any, path: str) -> Any:
    for name in path.split("."):
        values = values.get(name) if isinstance(values, dict) else None
    return values


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in values.items():
        *folders, last = path.split(".")
        place = found
        for name in folders:
            place = place.setdefault(name, {})
        place[last] = value
    return found
