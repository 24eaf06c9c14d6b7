from __future__ import annotations

import grpc
import pytest

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import (
    AAPL,
    BITCOIN,
    CRYPTO,
    CURRENCY,
    EQUITY,
    LONDON,
    NEW_YORK,
    equity,
    get,
    identity_of,
    import_,
    match,
    told,
)
from tests.integration.registry.instruments.world import World, key, provider
from tests.integration.rpc.harness import failure_of
from tests.unit.registry.recorded_identity import equities, equities_file


async def test_the_listing_of_the_assets_exchange_is_matched(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC", exchange="XNYS"))
    report = await match(world)
    assert (report.examined, report.exact, report.proposed) == (1, 1, 0)
    assert await identity_of(world, "ABC") == "BBG000BLNNH6"


async def test_case_and_aliases_do_not_hide_a_match(world: World) -> None:
    await import_(world, BITCOIN, AAPL)
    await told(
        world,
        "alpha",
        ProviderSymbol(symbol="xbt", asset_class=CRYPTO),  # enum values are integers
        ProviderSymbol(symbol="XBT/USD", asset_class=CRYPTO, base_currency="XBT", quote_currency="USD"),
        equity("aapl", exchange="XNAS"),
    )
    report = await match(world)
    assert (report.exact, report.fuzzy) == (3, 0)
    assert {await identity_of(world, symbol) for symbol in ("xbt", "XBT/USD")} == {"KKG00000DV14"}


async def test_exact_and_fuzzy_matches_work_together(world: World) -> None:
    await import_(world, AAPL, "BBG000BXNJ07,ABCDEFGH,Alpha Beta Corp,XNYS,equity,USD,US,,\n")
    await told(
        world,
        "alpha",
        equity("AAPL", exchange="XNAS"),
        equity("ABCDEFGHI", exchange="XNYS", name="Alpha Beta Corp"),
        equity("ZZZZ", exchange="XNYS"),
    )
    report = await match(world)
    assert (report.examined, report.exact, report.fuzzy, report.unmatched) == (3, 1, 1, 1)
    found = (await get(world, "ABCDEFGHI")).asset.identity
    assert (found.identity_id, found.method) == ("BBG000BXNJ07", asset_pb2.MATCH_METHOD_FUZZY_SYMBOL)
    assert "names by 1.00" in found.reason


async def test_exact_only_leaves_the_rest(world: World) -> None:
    await import_(world, "BBG000BXNJ07,ABCDEFGH,Alpha Beta Corp,XNYS,equity,USD,US,,\n")
    await told(world, "alpha", equity("ABCDEFGHI", exchange="XNYS", name="Alpha Beta Corp"))
    assert (await match(world, exact_only=True)).unmatched == 1


async def test_one_security_of_a_source_has_an_identity_and_crypto_pairs_share_theirs(world: World) -> None:
    await import_(world, AAPL, BITCOIN)
    pairs = [
        ProviderSymbol(symbol=f"XBT/{quote}", asset_class=CRYPTO, base_currency="XBT", quote_currency=quote)
        for quote in ("USD", "USDC")
    ]
    shares = [equity(symbol, matcher_symbol="AAPL", exchange="XNAS") for symbol in ("AAPL.A", "AAPL.B")]
    await told(world, "alpha", *pairs, *shares)
    report = await match(world)
    assert (report.exact, report.deduplicated) == (3, 1)
    failure = await failure_of(
        world.assets.UpdateAsset(
            pb.UpdateAssetRequest(
                asset=asset_pb2.Asset(key=key("alpha", "AAPL.B"), identity={"identity_id": "BBG000B9XRY4"}),
                update_mask={"paths": ["identity.identity_id"]},
            )
        )
    )
    assert failure.code == grpc.StatusCode.ALREADY_EXISTS


async def test_one_identity_on_two_sources_is_found_on_both(world: World) -> None:
    await import_(world, AAPL)
    for name in ("alpha", "beta"):
        await told(world, name, equity("AAPL", exchange="XNAS"))
    assert (await match(world)).exact == 2
    known = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="BBG000B9XRY4"))
    assert known.identity.asset_count == 2
    assert [each.key.source.name for each in known.assets] == ["alpha", "beta"]


async def test_a_providers_identifier_is_recognised_once_its_manifest_is_there(world: World) -> None:
    await told(world, "alpha", equity("SAP", exchange="XETR", isin="DE0007164600"))
    assert await identity_of(world, "SAP") == "DE0007164600@XETR"
    line = "BBG000BG7DY8,DE0007164600,SAP,XETR,equity\n"
    content = ("figi,isin,symbol,mic,class\n" + line).encode()
    request = pb.ImportIdentitiesRequest(name="list", content=content, file_name="l.csv", match_assets=True)
    await world.done(await world.assets.ImportIdentities(request))
    assert await identity_of(world, "SAP") == "BBG000BG7DY8"


async def test_a_match_needs_a_manifest_a_source_and_thresholds_in_order(world: World) -> None:
    await world.add_code("alpha")
    failure = await failure_of(world.assets.MatchAssets(pb.MatchAssetsRequest()))
    assert failure.code == grpc.StatusCode.FAILED_PRECONDITION
    await import_(world, AAPL)
    failure = await failure_of(world.assets.MatchAssets(pb.MatchAssetsRequest(sources=[provider("nobody")])))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    wrong = pb.MatchAssetsRequest(accept_confidence=50, propose_confidence=60)
    assert (await failure_of(world.assets.MatchAssets(wrong))).info.reason == "INVALID_ARGUMENT"
    assert (await failure_of(world.assets.MatchAssets(pb.MatchAssetsRequest(filter="x = 1")))).info.reason == (
        "INVALID_FILTER"
    )


async def test_currency_pairs_are_identified_by_both_sides(world: World) -> None:
    await import_(
        world, "BBG0013HGRV8,EURUSD,Euro US Dollar,,currency,USD,,,\n".replace("BBG0013HGRV8", "BBG000B9XRY4")
    )
    pair = ProviderSymbol(symbol="EUR/USD", asset_class=CURRENCY, base_currency="EUR", quote_currency="USD")
    await told(world, "alpha", pair)
    await match(world)
    assert await identity_of(world, "EUR/USD") == "BBG000B9XRY4"


@pytest.mark.slow
async def test_real_equities_find_themselves(world: World) -> None:
    request = pb.ImportIdentitiesRequest(
        name="equities",
        content=equities_file(),
        file_name="equities.csv.gz",
        default_asset_class=EQUITY,
    )
    result = await world.result(await world.assets.ImportIdentities(request), asset_pb2.ImportIdentitiesResult)
    assert (result.manifest.rows, result.manifest.added) == (19_508, 10_586)
    symbols = [
        equity(row["symbol"], name=row["name"], exchange=row["mic"], quote_currency=row["currency"])
        for row in equities()
    ]
    report = await told(world, "alpha", *symbols)
    assert report.added == 19_508
    found = await match(world)
    rows = await world.owner.fetch(
        "select a.identity_id = i.identity_id as right, a.match_method from registry.assets a"
        " join registry.identities i on i.symbol = a.symbol and i.exchange = a.exchange where a.identity_id <> ''"
    )
    assert found.examined == 19_508
    distinct = await world.owner.fetchval("select count(distinct identity_id) from registry.identities")
    assert (distinct, len(rows)) == (10_437, 10_437)
    assert sum(1 for row in rows if not row["right"]) == 0
    strangers = await world.owner.fetchval(
        "select count(*) from registry.assets a where a.identity_id <> '' and not exists"
        " (select from registry.identities i where i.symbol = a.symbol)"
    )
    assert strangers <= found.fuzzy
    assert found.exact == 10_437
    page = await world.assets.ListIdentities(pb.ListIdentitiesRequest(filter='name:"apple"', page_size=5))
    assert page.identities


async def test_the_database_gives_the_same_similarities_with_and_without_the_extension(world: World) -> None:
    from registry.assets.symbols import name_key
    from registry.matching.trigrams import similarity

    rows = equities()[::97]
    pairs = [
        (name_key(first["name"]), name_key(second["name"])) for first in rows[:40] for second in (*rows[:20], first)
    ]
    left, right = zip(*pairs, strict=True)
    found = await world.owner.fetch(
        "select registry.trigram_similarity(a, b)::float8 as s from unnest($1::text[], $2::text[]) as p (a, b)",
        list(left),
        list(right),
    )
    definition = await world.owner.fetchval(
        "select prosrc from pg_proc where proname = 'trigram_similarity' and pronamespace = 'registry'::regnamespace"
    )
    assert "public.similarity" in definition
    await world.owner.execute((await _fallback()).replace("create function", "create or replace function"))
    without = await world.owner.fetch(
        "select registry.trigram_similarity(a, b)::float8 as s from unnest($1::text[], $2::text[]) as p (a, b)",
        list(left),
        list(right),
    )
    here = [similarity(a, b) for a, b in pairs]
    assert [row["s"] for row in found] == [row["s"] for row in without] == here


async def _fallback() -> str:
    """Return the definition that holds where the extension is not there."""
    from quasar.database.migrations import migrations_folder

    text = (migrations_folder() / "0020_registry_assets.sql").read_text()
    start = text.index("create function registry.trigram_similarity")
    return text[start : text.index("$$;", start) + 3]
