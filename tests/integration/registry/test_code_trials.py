"""Uploads that the DataHub's own validation tries in the jail, with secrets and preferences."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from datahub.rpc.validation import Validations
from quasar.clock import SystemClock
from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of

PROVIDER = values_pb2.CODE_KIND_PROVIDER
NEEDY = '''
from quasar.provider import Bar, Preference, Provider


class Needy(Provider):
    """Cannot be made without its secret."""

    {name}
    intervals = ("1d",)
    secrets = ("key",)
    page_size = Preference(500, minimum=1, maximum=1000)

    def __init__(self, context, preferences=None):
        super().__init__(context, preferences)
        self.key = context.secrets["key"]

    async def bars(self, request):
        yield Bar(request.start_ns, 1.0, 1.0, 1.0, 1.0)
'''


@pytest.fixture(autouse=True)
def _trials(stage: Stage) -> None:
    stage.datahub.trials = Validations(SystemClock())


def upload(name: str = 'name = "needy"', **fields: object) -> pb.UploadCodeRequest:
    content = NEEDY.replace("{name}", name).encode()
    return pb.UploadCodeRequest(kind=PROVIDER, file_name="needy.py", content=content, **fields)  # type: ignore[arg-type]  # one of the fields of the request


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(values, struct_pb2.Struct())


@pytest.mark.parametrize("written", ['name = "needy"', "# named after its class"])
async def test_a_new_version_is_tried_with_the_stored_secrets(stage: Stage, written: str) -> None:
    await stage.code.UploadCode(upload(secrets={"key": "hunter2"}))
    newer = upload(f"{written}\n    version = 2")

    answer = await stage.code.UploadCode(newer)

    assert (answer.version.ref.name, answer.version.version) == ("needy", 2)
    sent = pb.CodeUpload(kind=PROVIDER, file_name="needy.py", content=newer.content)
    assert (await stage.code.ValidateCode(pb.ValidateCodeRequest(upload=sent))).report.passed


async def test_secrets_of_another_name_are_not_handed_out(stage: Stage) -> None:
    await stage.code.UploadCode(upload(secrets={"key": "hunter2"}))

    failure = await failure_of(stage.code.UploadCode(upload('name = "other"')))

    assert failure.reason == "CODE_REJECTED"


@pytest.mark.parametrize("only", [False, True])
@pytest.mark.parametrize(
    ("values", "violations"),
    [
        ({"page_size": 5000}, {"page_size": "must be between 1 and 1000, was 5000"}),
        ({"page_size": "x"}, {"page_size": "must be a whole number, was 'x'"}),
        ({"scheduling": {"delay_hours": 99}}, {"scheduling.delay_hours": "must be between 0 and 24, was 99"}),
    ],
)
async def test_a_preference_that_the_class_does_not_take_is_named_by_its_path(
    stage: Stage, values: dict[str, Any], violations: dict[str, str], only: bool
) -> None:
    request = upload(secrets={"key": "v"}, preferences=struct(values), validate_only=only)

    failure = await failure_of(stage.code.UploadCode(request))

    assert failure.reason == "INVALID_ARGUMENT"
    assert failure.violations == violations


async def test_a_stored_version_is_tried_again_with_what_holds_of_its_preferences(stage: Stage) -> None:
    first = await stage.code.UploadCode(
        upload(secrets={"key": "v"}, preferences=struct({"page_size": 900}), activate=True)
    )
    narrower = upload(activate=True)
    narrower.content = narrower.content.replace(b"maximum=1000", b"maximum=800")
    await stage.code.UploadCode(narrower)
    version = code_pb2.CodeVersionRef(ref=common.CodeRef(kind=PROVIDER, name="needy"), version=2)

    answer = await stage.code.ValidateCode(pb.ValidateCodeRequest(version=version))

    assert first.code.missing == []
    assert answer.report.passed, answer.report
