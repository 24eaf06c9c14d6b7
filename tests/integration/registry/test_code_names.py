"""What reaches other services about a piece of code is its own name, however a caller spells it."""

from __future__ import annotations

import pytest

from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from quasar_proto.strategy.v1 import strategy_pb2, universe_pb2
from tests.integration.registry.stage import Stage, failure_of, provide, source

STRATEGY = values_pb2.CODE_KIND_STRATEGY
RUNNING = strategy_pb2.INSTANCE_STATE_RUNNING


def reading(provider: str) -> universe_pb2.Universe:
    """Return a universe of one series of a provider."""
    selector = universe_pb2.SeriesSelector(series=values_pb2.SeriesKey(provider=provider, symbol="A", interval="1d"))
    return universe_pb2.Universe(selectors=[selector])


@pytest.mark.parametrize("asked", ["Cross", "cross", "CROSS"])
@pytest.mark.parametrize("named", ["Cross", "cross"])
async def test_a_running_strategy_is_found_in_any_letter_case(stage: Stage, asked: str, named: str) -> None:
    content = source("Cross", kind="CODE_KIND_STRATEGY", capabilities=[])
    await stage.code.UploadCode(
        pb.UploadCodeRequest(kind=STRATEGY, file_name="cross.py", content=content, activate=True)
    )
    ref = common.CodeRef(kind=STRATEGY, name=asked)
    instances = stage.engine.instances
    instances["live-one"] = strategy_pb2.Instance(instance_id="live-one", strategy=named, state=RUNNING)
    instances["other"] = strategy_pb2.Instance(instance_id="other", strategy="CrossAndMore", state=RUNNING)

    for call in (
        stage.code.DeactivateCode(pb.DeactivateCodeRequest(ref=ref)),
        stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ref, force=True)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "FAILED_PRECONDITION"
        assert "live-one" in failure.message
        assert "other" not in failure.message
    assert (await stage.code.GetCode(pb.GetCodeRequest(ref=ref))).code.usage.instances == 1


async def test_what_reads_from_a_provider_and_what_is_stored_of_it_is_found_in_any_letter_case(stage: Stage) -> None:
    await provide(stage)
    ref = common.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="ALPHA")
    stage.engine.instances["live-one"] = strategy_pb2.Instance(
        instance_id="live-one", strategy="Cross", state=RUNNING, universe=reading("Alpha")
    )

    usage = (await stage.code.GetCode(pb.GetCodeRequest(ref=ref))).code.usage
    failure = await failure_of(stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ref, force=True)))

    assert (usage.instances, usage.series) == (1, 1)
    assert failure.reason == "FAILED_PRECONDITION"
    assert "live-one" in failure.message
