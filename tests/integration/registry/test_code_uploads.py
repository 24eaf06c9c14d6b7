"""Uploading code."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2

from datahub.rpc.validation import Validations
from quasar.clock import SystemClock
from quasar.secrets import Binding, SystemContext
from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of, source, zipped

PROVIDER = values_pb2.CODE_KIND_PROVIDER
STRATEGY = values_pb2.CODE_KIND_STRATEGY
BROKER = values_pb2.CODE_KIND_BROKER


def upload(content: bytes | None = None, **fields: Any) -> pb.UploadCodeRequest:
    """Return an upload of a provider."""
    given = {"kind": PROVIDER, "file_name": "alpha.py", "content": source() if content is None else content, **fields}
    return pb.UploadCodeRequest(**given)


def struct(**values: Any) -> struct_pb2.Struct:
    """Return nested values as a message."""
    return json_format.ParseDict(values, struct_pb2.Struct())


async def stored(stage: Stage) -> list[str]:
    """Return the names of the uploaded code that is stored."""
    answer = await stage.code.ListCode(pb.ListCodeRequest(filter="built_in = false", page_size=1000))
    return [code.ref.name for code in answer.codes]


async def test_a_provider_is_uploaded_activated_and_listed(stage: Stage) -> None:
    uploaded = await stage.code.UploadCode(upload(activate=True, secrets={"key": "v"}, note="first"))

    assert uploaded.created_code
    assert uploaded.created_version
    assert (uploaded.code.ref.name, uploaded.code.active_version) == ("alpha", 1)
    assert (uploaded.version.active, uploaded.version.note, uploaded.version.file_count) == (True, "first", 1)
    assert uploaded.version.created_by.principal == "admin"
    assert uploaded.report.passed
    assert uploaded.apply.state == code_pb2.APPLY_STATE_REPLACED
    assert stage.datahub.reloaded == ["alpha"]
    assert await stored(stage) == ["alpha"]
    assert (await stage.kinds_of_events())[-3:] == ["CodeUploaded", "SecretsReplaced", "CodeActivated"]


async def test_the_datahub_is_shown_who_asks_and_for_whom(stage: Stage) -> None:
    await stage.code.UploadCode(upload())

    seen = stage.datahub.metadata[0]
    assert seen["authorization"].startswith("Bearer qss_registry_")
    assert seen["x-quasar-on-behalf-of"] == "admin"


async def test_the_same_bytes_twice_are_one_version_and_are_not_validated_again(stage: Stage) -> None:
    first = await stage.code.UploadCode(upload())
    again = await stage.code.UploadCode(upload(activate=True))

    assert not again.created_version
    assert not again.created_code
    assert again.version.version == first.version.version == 1
    assert again.code.version_count == 1
    assert again.code.active_version == 1
    assert len(stage.datahub.validated) == 1


async def test_an_existing_name_makes_a_new_version_and_loses_nothing(stage: Stage) -> None:
    await stage.code.UploadCode(upload(activate=True, secrets={"key": "v"}))

    newer = await stage.code.UploadCode(upload(source(description="better")))

    assert (newer.created_code, newer.created_version) == (False, True)
    assert (newer.version.version, newer.version.active) == (2, False)
    assert (newer.code.active_version, newer.code.latest_version) == (1, 2)
    names = await stage.code.ListSecretNames(pb.ListSecretNamesRequest(ref=newer.code.ref))
    assert [one.name for one in names.secrets] == ["key"]


async def test_two_uploads_of_a_new_name_at_once_make_two_versions_of_one_entry(stage: Stage) -> None:
    stage.datahub.together = asyncio.Barrier(3)
    calls = [
        asyncio.ensure_future(stage.code.UploadCode(upload(source(description=text), activate=True)))
        for text in ("one", "two", "three")
    ]
    answers = await asyncio.gather(*calls)

    assert sorted(answer.version.version for answer in answers) == [1, 2, 3]
    assert [answer.created_code for answer in answers].count(True) == 1
    code = (await stage.code.GetCode(pb.GetCodeRequest(ref=answers[0].code.ref))).code
    assert (code.version_count, code.latest_version) == (3, 3)
    assert code.active_version in (1, 2, 3)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"this is no Python", "syntax-error"),
        (b"\xff\xfe\x00", "syntax-error"),
        (b"x = 1\n", "no-provider-class"),
        (source("alpha") + source("beta"), "two-provider-classes"),
    ],
    ids=["prose", "no text", "no class", "two classes"],
)
async def test_code_that_does_not_pass_is_refused_with_its_report(stage: Stage, content: bytes, rule: str) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(content, activate=True, secrets={"key": "hunter2"})))

    assert failure.reason == "CODE_REJECTED"
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    report = failure.find(common.ValidationReport)
    assert [finding.rule for finding in report.findings] == [rule]
    assert "hunter2" not in failure.everything()
    assert await stored(stage) == []


async def test_a_report_with_many_long_findings_still_reaches_the_client(stage: Stage) -> None:
    broken = zipped({f"package/module_{number}.py": b"def (" + b"x" * 3000 for number in range(60)})

    failure = await failure_of(stage.code.UploadCode(upload(broken, file_name="alpha.zip")))

    assert failure.reason == "CODE_REJECTED"
    assert "59 more" in failure.message
    assert len(failure.find(common.ValidationReport).findings) == 10


async def test_a_refused_upload_is_an_answer_when_only_validation_is_asked_for(stage: Stage) -> None:
    answer = await stage.code.UploadCode(upload(b"no Python at all", validate_only=True))

    assert not answer.report.passed
    assert not answer.HasField("code")
    accepted = await stage.code.UploadCode(upload(validate_only=True))
    assert accepted.report.passed
    assert await stored(stage) == []


async def test_a_datahub_that_is_down_is_named_and_nothing_is_stored(stage: Stage) -> None:
    await stage.stop_datahub()

    failure = await failure_of(stage.code.UploadCode(upload(activate=True)))

    assert failure.reason == "SERVICE_UNAVAILABLE"
    assert failure.code is grpc.StatusCode.UNAVAILABLE
    assert "DataHub" in failure.message
    assert "nothing was stored" in failure.message
    assert await stage.database.fetchval("select count(*) from registry.code_registry where not built_in") == 0


async def test_bytes_that_are_stored_can_be_uploaded_again_while_the_datahub_is_down(stage: Stage) -> None:
    await stage.code.UploadCode(upload())
    await stage.stop_datahub()

    again = await stage.code.UploadCode(upload(activate=True))

    assert again.code.active_version == 1
    assert again.apply.state == code_pb2.APPLY_STATE_PENDING
    assert "DataHub" in again.apply.detail


async def test_a_preference_out_of_range_keeps_the_whole_upload_out(stage: Stage) -> None:
    wrong = struct(scheduling={"delay_hours": 99})

    failure = await failure_of(stage.code.UploadCode(upload(preferences=wrong, secrets={"key": "v"})))

    assert failure.reason == "INVALID_ARGUMENT"
    assert failure.violations == {"scheduling.delay_hours": "must be between 0 and 24, was 99"}
    assert await stored(stage) == []


@pytest.mark.parametrize("secrets", [{"": "v"}, {"a b": "v"}, {"key": ""}, {"1st": "v"}])
async def test_secrets_that_cannot_be_stored_are_refused_without_their_values(
    stage: Stage, secrets: dict[str, str]
) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(secrets={**secrets, "other": "hunter2"})))

    assert failure.reason == "INVALID_ARGUMENT"
    assert "hunter2" not in failure.everything()
    assert await stored(stage) == []


async def test_a_name_of_built_in_code_cannot_be_taken(stage: Stage) -> None:
    await stage.until_built_ins()

    failure = await failure_of(stage.code.UploadCode(upload(source("kraken"), file_name="kraken.py")))

    assert failure.reason == "ALREADY_EXISTS"
    assert "comes with the platform" in failure.message


async def test_a_name_that_differs_in_letter_case_only_collides(stage: Stage) -> None:
    await stage.code.UploadCode(upload(source("Alpha")))

    failure = await failure_of(stage.code.UploadCode(upload(source("alpha"))))

    assert failure.reason == "ALREADY_EXISTS"
    assert "'Alpha'" in failure.message


async def test_a_broker_may_be_named_like_a_provider(stage: Stage) -> None:
    await stage.code.UploadCode(upload())
    broker = source("alpha", kind="CODE_KIND_BROKER", capabilities=[])

    answer = await stage.code.UploadCode(upload(broker, kind=BROKER, activate=True))

    assert answer.created_code
    assert answer.apply.state == code_pb2.APPLY_STATE_NOT_RUNNING
    assert stage.engine.applied[0].code.name == "alpha"


async def test_a_strategy_is_validated_by_the_strategy_engine(stage: Stage) -> None:
    await stage.stop_engine()
    strategy = source("cross", kind="CODE_KIND_STRATEGY", capabilities=[])

    failure = await failure_of(stage.code.UploadCode(upload(strategy, kind=STRATEGY, file_name="cross.py")))

    assert failure.reason == "SERVICE_UNAVAILABLE"
    assert "strategy engine" in failure.message


async def test_a_class_of_another_kind_is_refused(stage: Stage) -> None:
    broker = source("alpha", kind="CODE_KIND_BROKER")

    failure = await failure_of(stage.code.UploadCode(upload(broker)))

    assert failure.violations == {"kind": "must be broker, as the class is one, was provider"}


async def test_another_name_than_the_expected_one_is_refused(stage: Stage) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(expected_name="beta")))

    assert failure.reason == "ALREADY_EXISTS"
    assert failure.violations == {"expected_name": "must be the name of the class, 'alpha', was 'beta'"}
    assert await stored(stage) == []


@pytest.mark.parametrize("file_name", ["alpha.txt", "../alpha.py", "a/b.py", ""])
async def test_a_file_that_is_no_python_file_by_its_name_is_refused(stage: Stage, file_name: str) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(file_name=file_name)))

    assert failure.reason == "INVALID_ARGUMENT"
    assert "file_name" in failure.violations


async def test_the_ending_of_a_file_name_may_be_written_in_capitals(stage: Stage) -> None:
    stage.datahub.trials = Validations(SystemClock())
    passing = (
        b"from quasar.provider import Provider\n\n\nclass Alpha(Provider):\n    async def symbols(self, request):\n"
    )

    answer = await stage.code.UploadCode(upload(passing + b"        yield\n", file_name="Alpha.PY"))

    assert answer.version.file_name == "Alpha.py"


async def test_a_large_file_is_left_out_of_all_files_and_comes_by_its_path(stage: Stage) -> None:
    content = source() + b"#" * (3 * 1024 * 1024 + 1) + b"\n"
    ref = (await stage.code.UploadCode(upload(content))).code.ref

    every = await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=ref))
    one = await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=ref, path="alpha.py"))

    assert (every.files[0].omitted, every.files[0].text) == (True, "")
    assert (one.files[0].omitted, one.files[0].text.encode() == content) == (False, True)


async def test_an_upload_above_four_mebibytes_is_refused(stage: Stage) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(b"#" * (4 * 1024 * 1024 + 1))))

    assert failure.reason == "INVALID_ARGUMENT"
    assert "content" in failure.violations


@pytest.mark.parametrize(
    "content",
    [b"no zip", zipped({"../evil.py": b""}), zipped({}), zipped({"/etc/passwd": b"x"})],
    ids=["no zip", "leads out of it", "empty", "absolute path"],
)
async def test_an_archive_that_cannot_be_trusted_is_refused_before_anybody_opens_it(
    stage: Stage, content: bytes
) -> None:
    failure = await failure_of(stage.code.UploadCode(upload(content, file_name="alpha.zip")))

    assert failure.reason == "INVALID_ARGUMENT"
    assert list(failure.violations) == ["content"]
    assert stage.datahub.validated == []


async def test_a_package_in_a_zip_is_stored_with_its_files(stage: Stage) -> None:
    package = zipped({"alpha/__init__.py": b"", "alpha/feed.py": source(), "alpha/logo.png": b"\x89PNG\x00"[:0]})

    uploaded = await stage.code.UploadCode(upload(package, file_name="alpha.zip"))

    assert uploaded.version.file_count == 3
    files = (await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=uploaded.code.ref))).files
    assert [file.path for file in files] == ["alpha/__init__.py", "alpha/feed.py", "alpha/logo.png"]
    assert files[1].text.encode() == source()


async def test_secrets_are_sealed_and_bound_to_the_entry(stage: Stage, system_context: SystemContext) -> None:
    await stage.code.UploadCode(upload(secrets={"key": "hunter2"}))

    row = await stage.database.fetchrow("select * from registry.code_secrets")
    assert b"hunter2" not in row["sealed"]
    assert row["names"] == ["key"]
    opened = system_context.open(row["sealed"], Binding("provider", "alpha", row["version"]))
    assert opened == b'{"key":"hunter2"}'
    everything = str([dict(row) for row in await stage.database.fetch("select * from ops.events")])
    assert "hunter2" not in everything


async def test_validation_gets_the_stored_secrets_when_none_are_sent(stage: Stage) -> None:
    await stage.code.UploadCode(upload(secrets={"key": "hunter2"}))

    extends = b"from quasar.provider import Provider\n\nclass AlphaProvider(Provider):"
    newer = source(description="newer").replace(b"class AlphaProvider:", extends)
    sent = pb.CodeUpload(kind=PROVIDER, file_name="alpha.py", content=newer)
    await stage.code.ValidateCode(pb.ValidateCodeRequest(upload=sent))

    assert dict(stage.datahub.validated[-1].secrets) == {"key": "hunter2"}
    assert not stage.datahub.validated[-1].static_only


async def test_a_stored_version_is_validated_once_more(stage: Stage) -> None:
    uploaded = await stage.code.UploadCode(upload())
    version = pb.ValidateCodeRequest(version=code_pb2.CodeVersionRef(ref=uploaded.code.ref, version=1))

    answer = await stage.code.ValidateCode(version)

    assert answer.report.passed
    assert len(stage.datahub.validated) == 2
    missing = pb.ValidateCodeRequest(version=code_pb2.CodeVersionRef(ref=uploaded.code.ref, version=9))
    assert (await failure_of(stage.code.ValidateCode(missing))).reason == "NOT_FOUND"


async def test_an_operator_may_not_upload(stage: Stage) -> None:
    failure = await failure_of(stage.code_as("operator").UploadCode(upload()))

    assert failure.code is grpc.StatusCode.PERMISSION_DENIED
