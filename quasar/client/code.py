"""Code of a running platform, through the Registry's `CodeService`: uploaded, listed, activated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quasar.client.channel import Channel
from quasar.convert.manifest import plain_to_value
from quasar.convert.plugin_report import report_from_proto
from quasar.errors import CodeRejected, NotFound
from quasar.plugins.manifest import Kind
from quasar.plugins.report import Report
from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.registry.v1 import code_pb2 as entry_pb
from quasar_proto.registry.v1 import code_service_pb2 as pb
from quasar_proto.registry.v1 import code_service_pb2_grpc

_VALIDATION_S: Final = 120.0
"""An upload waits for its trial run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCode:
    """A provider, broker or strategy that the platform has."""

    kind: Kind
    name: str
    active_version: int
    """0: none is active."""
    latest_version: int
    built_in: bool
    missing: tuple[str, ...] = ()
    """Required secrets and preferences for which nothing is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """What became of an upload."""

    code: StoredCode
    version: int
    is_new: bool
    """False: the same bytes are stored already, as this version."""
    report: Report
    effect: str = ""
    """What the change of what runs waits for, or why it failed; empty when it is in effect."""


class CodeClient:
    """Uploads, lists and activates; uploading and activating need an administrator's token."""

    def __init__(self, channel: Channel) -> None:
        """Call the Registry through `channel`."""
        self._stub: Any = channel.stub(code_service_pb2_grpc.CodeServiceStub)

    async def upload(
        self,
        kind: Kind,
        file: Path,
        *,
        secrets: Mapping[str, str] | None = None,
        preferences: Mapping[str, Any] | None = None,
        activate: bool = True,
        note: str = "",
    ) -> Uploaded:
        """Upload a file: one Python module, or a zip.

        Args:
            kind: What it holds.
            file: Where it lies.
            secrets: They replace all stored ones; none: those stay.
            preferences: They are merged into the stored ones.
            activate: Make the version the one that runs.
            note: What is new, for people.

        Raises:
            CodeRejected: It did not pass validation; `report_of` returns the report.
            QuasarError: Whatever else the Registry answers.
        """
        request = pb.UploadCodeRequest(
            kind=_kind_to_proto(kind),
            file_name=file.name,
            content=file.read_bytes(),  # noqa: ASYNC240 - one small file
            secrets=dict(secrets or {}),
            activate=activate,
            note=note,
        )
        for name, value in (preferences or {}).items():
            request.preferences.fields[name].CopyFrom(plain_to_value(value))
        answer = await self._stub.UploadCode(request, timeout=_VALIDATION_S)
        return Uploaded(
            code=_stored(answer.code),
            version=answer.version.version,
            is_new=answer.created_version,
            report=report_from_proto(answer.report),
            effect=answer.apply.detail,
        )

    async def list(self, kind: Kind | None = None) -> list[StoredCode]:
        """Return what is there, by kind and name.

        Raises:
            QuasarError: Whatever the Registry answers.
        """
        request = pb.ListCodeRequest(page_size=1000, filter=f'kind = "{kind.name}"' if kind else "")
        found: list[StoredCode] = []
        while True:
            answer = await self._stub.ListCode(request)
            found += [_stored(one) for one in answer.codes]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def activate(self, kind: Kind, name: str, version: int = 0) -> tuple[StoredCode, str]:
        """Make a version the one that runs; return the entry, and what the change waits for.

        Args:
            kind: Of the code.
            name: Of the code.
            version: 0: the newest one.

        Raises:
            NotFound: There is no such code or version.
            QuasarError: Whatever else the Registry answers.
        """
        ref = code_pb2.CodeRef(kind=_kind_to_proto(kind), name=name)
        if not version:
            known = {one.name: one.latest_version for one in await self.list(kind)}
            if name not in known:
                raise NotFound(f"{kind.value} {name} must exist, does not; see `quasar code list`")
            version = known[name]
        answer = await self._stub.ActivateCodeVersion(
            pb.ActivateCodeVersionRequest(ref=ref, version=version), timeout=_VALIDATION_S
        )
        return _stored(answer.code), answer.apply.detail


def report_of(error: CodeRejected) -> Report | None:
    """Return the report that came with a refusal; None where there was no room for it."""
    for detail in error.details:
        message = code_pb2.ValidationReport()
        if getattr(detail, "Unpack", lambda _: False)(message):
            return report_from_proto(message)
    return None


def _stored(code: entry_pb.Code) -> StoredCode:
    return StoredCode(
        kind=Kind(values_pb2.CodeKind.Name(code.ref.kind).removeprefix("CODE_KIND_").lower()),
        name=code.ref.name,
        active_version=code.active_version,
        latest_version=code.latest_version,
        built_in=code.built_in,
        missing=tuple(code.missing),
    )


def _kind_to_proto(kind: Kind) -> Any:
    return values_pb2.CodeKind.Value(f"CODE_KIND_{kind.name}")
