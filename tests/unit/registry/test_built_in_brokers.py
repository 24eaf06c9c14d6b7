"""The broker that comes with the platform: listed by the registry, worked by the StrategyEngine."""

from __future__ import annotations

import pytest

from quasar.brokers.paper import Paper
from quasar.errors import FailedPrecondition
from registry.code.refs import CodeKind
from registry.rpc.built_ins import found_built_ins


def test_paper_is_built_in_code_of_kind_broker_with_its_source() -> None:
    (found,) = [each for each in found_built_ins() if each.ref.kind is CodeKind.BROKER]
    assert (found.ref.name, found.manifest["class_name"]) == ("Paper", "Paper")
    assert "PROVIDER_CAPABILITY_SYMBOLS" in found.manifest["capabilities"]
    assert b"class Paper(Broker)" in found.file.content


async def test_paper_holds_nothing_itself_and_says_who_does() -> None:
    broker = Paper()
    await broker.connect()
    with pytest.raises(FailedPrecondition, match="StrategyEngine"):
        await broker.positions()
    await broker.close()
