from __future__ import annotations

from typing import Any

import grpc
import pytest

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import mapping_pb2
from quasar_proto.registry.v1 import mapping_service_pb2 as pb
from tests.integration.registry.instruments.mapping_calls import CRYPTO, FIGI_A, create, equity, mapped, pair, source
from tests.integration.registry.instruments.world import World, key, provider
from tests.integration.rpc.harness import failure_of


async def suggest(world: World, name: str = "alpha", **more: Any) -> Any:
    return await world.mappings.SuggestMappings(pb.SuggestMappingsRequest(source=provider(name), **more))


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [
        (
            equity("AAPL.US", name="Apple", exchange="XNAS", primary_id=FIGI_A),
            equity("AAPL", name="Apple", exchange="XNAS", primary_id=FIGI_A),
            130.0,
        ),
        (pair("XBT/USD", "BTC", "USD"), pair("BTC-USD", "BTC", "USD"), 55.0),
        (equity("AAPL.US"), equity("AAPL"), 45.0),
        (equity("FOO", provider_id="42"), equity("BARXY", provider_id="42"), 50.0),
    ],
)
async def test_scores_of_suggestions(world: World, left: ProviderSymbol, right: ProviderSymbol, total: float) -> None:
    await source(world, "alpha", left)
    await source(world, "beta", right)
    (found,) = (await suggest(world)).suggestions
    assert found.score.total == pytest.approx(total)


async def test_suggestions_come_page_by_page_best_first_and_the_cursor_fits_its_query_only(world: World) -> None:
    await source(world, "alpha", equity("é/1"), equity("S2", name="two"), equity("S3"), equity("S4"))
    await source(world, "beta", equity("é/1"), equity("S2", name="two"), equity("S3"), equity("S4"))
    first = await suggest(world, page_size=3, include_total=True)
    assert (len(first.suggestions), first.total_size) == (3, 4)
    assert [each.source.key.symbol for each in first.suggestions] == ["S2", "S3", "S4"]
    second = await suggest(world, page_size=3, page_token=first.next_page_token, include_total=True)
    assert [each.source.key.symbol for each in second.suggestions] == ["é/1"]
    assert (second.next_page_token, second.total_size) == ("", 4)
    for more in ({"page_token": "nonsense"}, {"page_token": first.next_page_token, "search": "S"}):
        request = pb.SuggestMappingsRequest(source=provider("alpha"), **more)
        assert (await failure_of(world.mappings.SuggestMappings(request))).info.reason == "INVALID_CURSOR"


async def test_the_same_ticker_of_two_targets_makes_two_suggestions(world: World) -> None:
    for name in ("alpha", "beta", "gamma"):
        await source(world, name, equity("AAPL"))
    assert [each.target.key.source.name for each in (await suggest(world)).suggestions] == ["beta", "gamma"]
    assert len((await suggest(world, target=provider("gamma"))).suggestions) == 1


async def test_suggestions_keep_to_class_search_and_least_score(world: World) -> None:
    await source(world, "alpha", equity("AAPL", name="100% Apple"), pair("AAPL", "AAPL", "USD"), equity("B_C"))
    await source(world, "beta", equity("AAPL", name="Apple"), equity("B_C"), equity("BXC"))
    assert [each.source.key.symbol for each in (await suggest(world)).suggestions] == ["AAPL", "B_C"]
    assert len((await suggest(world, search="%")).suggestions) == 1
    assert [each.source.key.symbol for each in (await suggest(world, search="b_c")).suggestions] == ["B_C"]
    assert not (await suggest(world, asset_classes=[CRYPTO])).suggestions
    assert not (await suggest(world, min_score=100)).suggestions


async def test_applied_suggestions_map_both_sides_and_a_conflict_is_told_before(world: World) -> None:
    await source(world, "alpha", equity("AAPL.US"), equity("AAPL.DE"))
    await source(world, "beta", equity("AAPL"))
    await create(world, "alpha", "AAPL.DE", "AAPL")
    (found,) = (await suggest(world)).suggestions
    assert found.conflict == "alpha already maps AAPL.DE to AAPL"
    await world.mappings.DeleteMapping(pb.DeleteMappingRequest(asset=key("alpha", "AAPL.DE")))
    chosen = pb.AppliedSuggestion(source=key("alpha", "AAPL.US"), target=key("beta", "AAPL"))
    answer = await world.mappings.ApplySuggestions(pb.ApplySuggestionsRequest(suggestions=[chosen]))
    assert [(each.asset.source.name, each.common_symbol, each.origin) for each in answer.mappings] == [
        ("alpha", "AAPL", mapping_pb2.MAPPING_ORIGIN_SUGGESTED),
        ("beta", "AAPL", mapping_pb2.MAPPING_ORIGIN_SUGGESTED),
    ]
    chosen = pb.AppliedSuggestion(source=key("alpha", "AAPL.DE"), target=key("beta", "AAPL"), common_symbol="OTHER")
    failure = await failure_of(world.mappings.ApplySuggestions(pb.ApplySuggestionsRequest(suggestions=[chosen])))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "suggestions[0].target" in failure.everything()


async def test_suggestions_that_cannot_be_applied_are_named_one_by_one_and_leave_nothing_behind(world: World) -> None:
    await source(world, "alpha", equity("AAPL.US"), equity("MSFT.US"))
    await source(world, "beta", equity("AAPL"), equity("MSFT"))
    chosen = [
        pb.AppliedSuggestion(source=key("alpha", "AAPL.US"), target=key("beta", "AAPL")),
        pb.AppliedSuggestion(source=key("alpha", "MSFT.US"), target=key("beta", "MSFT"), common_symbol="  "),
    ]

    failure = await failure_of(world.mappings.ApplySuggestions(pb.ApplySuggestionsRequest(suggestions=chosen)))

    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert "suggestions[1].common_symbol" in failure.everything()
    assert await mapped(world) == {}


async def test_a_pair_that_agrees_in_everything_has_the_full_score_and_can_be_asked_for(world: World) -> None:
    same = {"name": "Bitcoin", "exchange": "XNAS", "primary_id": FIGI_A, "provider_id": "42"}
    for name in ("alpha", "beta"):
        await source(world, name, pair("BTC/USD", "BTC", "USD", **same))

    (found,) = (await suggest(world, min_score=190)).suggestions

    assert found.score.total == pytest.approx(190.0)
    refused = await failure_of(suggest(world, min_score=190.5))
    assert refused.info.reason == "INVALID_ARGUMENT"
