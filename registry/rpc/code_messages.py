"""Code as messages of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format, struct_pb2

from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import struct, timestamp
from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_pb2
from registry.code import preferences
from registry.code.activation import Finding
from registry.code.archives import ShownFile
from registry.code.differences import FileDiff, ManifestChange
from registry.code.entries import Entry, Impact, Usage, Version
from registry.code.fields import PreferenceField
from registry.code.owners import ApplyOutcome, Report
from registry.code.refs import CodeKind, CodeRef
from registry.code.sealing import SecretName

_MOST_FINDINGS = 10
_MOST_TEXT = 160


def kind_of(number: values_pb2.CodeKind.ValueType) -> CodeKind:
    """Return the kind that a number of the contract stands for."""
    return CodeKind(values_pb2.CodeKind.Name(number).removeprefix("CODE_KIND_").lower())


def kind_number(kind: CodeKind) -> values_pb2.CodeKind.ValueType:
    """Return the number of a kind."""
    return values_pb2.CodeKind.Value(f"CODE_KIND_{kind.upper()}")


def ref_of(message: common.CodeRef) -> CodeRef:
    """Return the name that a message holds."""
    return CodeRef(kind_of(message.kind), message.name)


def ref_message(ref: CodeRef) -> common.CodeRef:
    """Return a name as a message."""
    return common.CodeRef(kind=kind_number(ref.kind), name=ref.name)


def file_name_of(given: str) -> str:
    """Return the name of an uploaded file with its ending in lower case: `Kraken.PY` is `Kraken.py`."""
    stem, dot, ending = given.rpartition(".")
    return f"{stem}{dot}{ending.lower()}"


def mapping_of(message: struct_pb2.Struct) -> dict[str, Any]:
    """Return a struct as nested Python values; its numbers are floats."""
    found: dict[str, Any] = json_format.MessageToDict(message)
    return found


def value_message(value: Any) -> struct_pb2.Value:
    """Return a Python value as a message."""
    return json_format.ParseDict(value, struct_pb2.Value())


def manifest_message(document: Mapping[str, Any]) -> common.Manifest:
    """Return a stored manifest as a message; fields of a later build are left out."""
    return json_format.ParseDict(dict(document), common.Manifest(), ignore_unknown_fields=True)


def report_message(report: Report | Mapping[str, Any]) -> common.ValidationReport:
    """Return a report as a message; fields of a later build are left out."""
    document = report.document if isinstance(report, Report) else report
    return json_format.ParseDict(dict(document), common.ValidationReport(), ignore_unknown_fields=True)


def report_of(message: common.ValidationReport) -> Report:
    """Return the report that a message holds."""
    return Report(json_format.MessageToDict(message, preserving_proto_field_name=True))


def report_detail(report: Report) -> common.ValidationReport:
    """Return a report small enough for the details of a status: the first findings, without manifest and output."""
    full = report_message(report)
    short = common.ValidationReport(passed=full.passed, stage=full.stage, sha256=full.sha256, validator=full.validator)
    for finding in full.findings[:_MOST_FINDINGS]:
        kept = short.findings.add()
        kept.CopyFrom(finding)
        kept.message = _cut(finding.message)
        kept.remedy = _cut(finding.remedy)
        kept.excerpt = _cut(finding.excerpt)
    return short


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"


def code_message(entry: Entry, usage: Usage | None = None) -> code_pb2.Code:
    """Return an entry as a message."""
    active = entry.active_version is not None
    untouched = entry.built_in and entry.revision <= _FRESH
    return code_pb2.Code(
        ref=ref_message(entry.ref),
        state=code_pb2.CODE_STATE_ACTIVE if active else code_pb2.CODE_STATE_INACTIVE,
        built_in=entry.built_in,
        active_version=entry.active_version or 0,
        latest_version=entry.latest_version,
        version_count=entry.version_count,
        manifest=manifest_message(entry.manifest),
        missing=entry.missing,
        usage=None if usage is None else usage_message(usage),
        create_time=None if entry.built_in else timestamp(entry.create_time),
        update_time=None if untouched else timestamp(entry.update_time),
        created_by=None if entry.built_in else actor_message(entry.created_by),
        etag=entry.etag,
    )


_FRESH = 2
"""The revision of built-in code that nobody has changed: written, and counted once."""


def usage_message(usage: Usage) -> code_pb2.CodeUsage:
    """Return what uses an entry as a message."""
    return code_pb2.CodeUsage(
        assets=usage.assets,
        mappings=usage.mappings,
        subscriptions=usage.subscriptions,
        indices=usage.indices,
        instances=usage.instances,
        series=usage.series,
        secrets=usage.secrets,
    )


def version_message(version: Version, *, with_report: bool) -> code_pb2.CodeVersion:
    """Return a version as a message."""
    return code_pb2.CodeVersion(
        ref=ref_message(version.ref),
        version=version.version,
        active=version.active,
        sha256=version.sha256,
        file_name=version.file_name,
        size_bytes=version.size_bytes,
        file_count=version.file_count,
        manifest=manifest_message(version.manifest),
        report=report_message(version.report) if with_report and version.report else None,
        create_time=timestamp(version.create_time),
        created_by=actor_message(version.created_by),
        activate_time=timestamp(version.activate_time),
        note=version.note,
    )


def file_message(shown: ShownFile) -> code_pb2.SourceFile:
    """Return a file as a message."""
    text = shown.file.text
    return code_pb2.SourceFile(
        path=shown.file.path,
        size_bytes=len(shown.file.content),
        sha256=shown.file.sha256,
        is_text=text is not None,
        text=text if text is not None and not shown.omitted else "",
        data=shown.file.content if text is None and not shown.omitted else b"",
        omitted=shown.omitted,
    )


def diff_message(diff: FileDiff) -> code_pb2.FileDiff:
    """Return the difference of a file as a message."""
    return code_pb2.FileDiff(
        path=diff.path,
        change=code_pb2.FileChange.Value(f"FILE_CHANGE_{diff.change}"),
        unified_diff=diff.unified_diff,
        lines_added=diff.lines_added,
        lines_removed=diff.lines_removed,
    )


def manifest_change_message(change: ManifestChange) -> code_pb2.ManifestChange:
    """Return the difference in a field of the manifest as a message."""
    return code_pb2.ManifestChange(
        field=change.field, before=value_message(change.before), after=value_message(change.after)
    )


def outcome_message(outcome: ApplyOutcome | None) -> code_pb2.ApplyOutcome | None:
    """Return how a change reached the process as a message; None stays absent."""
    if outcome is None:
        return None
    return code_pb2.ApplyOutcome(state=code_pb2.ApplyState.Value(f"APPLY_STATE_{outcome.state}"), detail=outcome.detail)


def impact_message(impact: Impact) -> code_pb2.CodeImpact:
    """Return what a deletion takes away as a message."""
    return code_pb2.CodeImpact(
        versions=impact.versions,
        secret_names=impact.secret_names,
        subscriptions=impact.subscriptions,
        assets=impact.assets,
        mappings=impact.mappings,
        manual_mappings=impact.manual_mappings,
        common_symbols=impact.common_symbols,
        indices=impact.indices,
        instances=impact.instances,
        series_kept=impact.series_kept,
        truncated=impact.truncated,
    )


def finding_message(finding: Finding) -> common.Finding:
    """Return something that a change brings along as a message."""
    return common.Finding(
        severity=common.FINDING_SEVERITY_WARNING,
        rule=finding.rule,
        message=finding.message,
        remedy=finding.remedy,
    )


def secret_messages(names: Iterable[SecretName]) -> list[code_pb2.SecretName]:
    """Return names of secrets as messages."""
    return [
        code_pb2.SecretName(
            name=one.name,
            stored=one.stored,
            declared=one.declared,
            required=one.required,
            description=one.description,
        )
        for one in names
    ]


def field_message(field: PreferenceField) -> common.PreferenceField:
    """Return a typed preference as a message."""
    return json_format.ParseDict(dict(field.document), common.PreferenceField(), ignore_unknown_fields=True)


def preferences_message(entry: Entry, stored: Mapping[str, Any] | None = None) -> code_pb2.Preferences:
    """Return preferences as a message: those of the entry, or with `stored` as they would be."""
    held = entry.preferences if stored is None else stored
    effective = preferences.effective(entry.fields, held)
    return code_pb2.Preferences(
        ref=ref_message(entry.ref),
        stored=struct(held),
        effective=struct(effective.values),
        ignored=effective.ignored,
        update_time=timestamp(entry.preferences_time),
        updated_by=actor_message(entry.preferences_actor),
        etag=entry.preferences_etag,
    )
