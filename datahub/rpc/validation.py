"""Validation of a provider's code: reading, then a trial run in the jail."""

from __future__ import annotations

import dataclasses

from google.protobuf import json_format

from quasar.clock import Clock
from quasar.convert.manifest import manifest_to_proto
from quasar.convert.plugin_report import report_to_proto
from quasar.errors import TooManyCalls
from quasar.plugins.manifest import Kind
from quasar.plugins.report import Finding, Report, Severity
from quasar.plugins.validation import validate
from quasar_proto.common.v1 import code_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as pb

AT_ONCE = 2
"""Trial runs cost a process and its memory each."""


class Validations:
    """Validates, a few at a time."""

    def __init__(self, clock: Clock) -> None:
        """Validate with the time of `clock`."""
        self._clock = clock
        self._running = 0

    async def validate(self, request: pb.ValidateProviderRequest) -> pb.ValidateProviderResponse:
        """Return everything that is to be said about a file.

        Raises:
            TooManyCalls: As many validations run as may.
        """
        if self._running >= AT_ONCE:
            raise TooManyCalls("Too many validations run; try again in a few seconds.", retry_after_s=5.0)
        self._running += 1
        try:
            report = await validate(
                Kind.PROVIDER,
                request.file_name,
                request.content,
                static_only=request.static_only,
                network=request.trial_with_network,
                secrets=dict(request.secrets),
                preferences=json_format.MessageToDict(request.preferences),
                validator="datahub",
                clock=self._clock,
            )
        finally:
            self._running -= 1
        if request.HasField("expected_manifest"):
            report = _compared(report, request.expected_manifest)
        return pb.ValidateProviderResponse(report=report_to_proto(report))


def _compared(report: Report, expected: code_pb2.Manifest) -> Report:
    """Add a finding for each field of the uploader's manifest that differs from what was found."""
    if report.manifest is None:
        return report
    found = manifest_to_proto(report.manifest)
    findings = list(report.findings)
    for field, value in expected.ListFields():
        if getattr(found, field.name) != value:
            findings.append(
                Finding(
                    severity=Severity.ERROR,
                    rule="manifest-differs",
                    message=f"{field.name} must be {value!r} as the upload says, was {getattr(found, field.name)!r}",
                    remedy="Correct the class, or what the upload says about it.",
                )
            )
    passed = report.passed and len(findings) == len(report.findings)
    return dataclasses.replace(report, findings=tuple(findings), passed=passed)
