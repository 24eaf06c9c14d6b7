"""Validation reports to and from the contract."""

from __future__ import annotations

from quasar.convert.manifest import manifest_from_proto, manifest_to_proto
from quasar.plugins.report import Finding, Report, Severity, Stage
from quasar_proto.common.v1 import code_pb2


def report_to_proto(report: Report) -> code_pb2.ValidationReport:
    """Return the contract's form."""
    found = code_pb2.ValidationReport(
        passed=report.passed,
        sha256=report.sha256,
        validator=report.validator,
        peak_memory_bytes=report.peak_memory_bytes,
        output=report.output,
        manifest=None if report.manifest is None else manifest_to_proto(report.manifest),
    )
    found.stage = code_pb2.ValidationStage.Value(f"VALIDATION_STAGE_{report.stage.name}")
    found.elapsed.FromNanoseconds(int(report.elapsed_s * 1e9))
    for one in report.findings:
        found.findings.add(
            severity=int(one.severity),
            rule=one.rule,
            file=one.file,
            line=one.line,
            column=one.column,
            message=one.message,
            remedy=one.remedy,
            excerpt=one.excerpt,
        )
    return found


def report_from_proto(found: code_pb2.ValidationReport) -> Report:
    """Return the value of a report."""
    return Report(
        passed=found.passed,
        stage=Stage(found.stage or Stage.ARCHIVE),
        findings=tuple(
            Finding(
                severity=Severity(one.severity or Severity.INFO),
                rule=one.rule,
                message=one.message,
                remedy=one.remedy,
                file=one.file,
                line=one.line,
                column=one.column,
                excerpt=one.excerpt,
            )
            for one in found.findings
        ),
        sha256=found.sha256,
        manifest=manifest_from_proto(found.manifest) if found.HasField("manifest") else None,
        validator=found.validator,
        elapsed_s=found.elapsed.ToNanoseconds() / 1e9,
        peak_memory_bytes=found.peak_memory_bytes,
        output=found.output,
    )
