from __future__ import annotations

import datetime as dt
import gzip
import hashlib
from typing import Any

import grpc
import pytest

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.world import World, key, provider, utc
from tests.integration.rpc.harness import failure_of
from tests.unit.registry.recorded_identity import equities, equities_file

EQUITY, CRYPTO, CURRENCY = 1, 15, 14
HEADER = "figi,symbol,name,mic,class,currency,country,valid_from,valid_to\n"
AAPL = "BBG000B9XRY4,AAPL,Apple Inc.,XNAS,equity,USD,US,,\n"
MSFT = "BBG000BPH459,MSFT,Microsoft Corp,XNAS,equity,USD,US,,\n"
LONDON = "BBG000BXNJ07,ABC,Alpha Beta Corp,XLON,equity,GBP,GB,,\n"
NEW_YORK = "BBG000BLNNH6,ABC,Another Business Co,XNYS,equity,USD,US,,\n"
BITCOIN = "KKG00000DV14,BTC;XBT,Bitcoin,,crypto,,,,\n"


async def import_(world: World, *lines: str, name: str = "list", **options: Any) -> Any:
    content = (HEADER + "".join(lines)).encode()
    request = pb.ImportIdentitiesRequest(name=name, content=content, file_name="list.csv", **options)
    return await world.result(await world.assets.ImportIdentities(request), asset_pb2.ImportIdentitiesResult)


async def match(world: World, **options: Any) -> Any:
    answer = await world.assets.MatchAssets(pb.MatchAssetsRequest(**options))
    return await world.result(answer, asset_pb2.MatchReport)


async def told(world: World, name: str, *symbols: ProviderSymbol, **options: Any) -> Any:
    if name not in world.vendors:
        await world.add_code(name)
    world.vendors[name].symbols = list(symbols)
    return await world.sync(name, **{"skip_matching": True, "skip_mapping": True, **options})


def equity(symbol: str, **more: Any) -> ProviderSymbol:
    return ProviderSymbol(symbol=symbol, asset_class=EQUITY, **more)  # enum values are integers


async def get(world: World, symbol: str, name: str = "alpha") -> Any:
    return await world.assets.GetAsset(pb.GetAssetRequest(key=key(name, symbol)))


async def identity_of(world: World, symbol: str, name: str = "alpha") -> str:
    return str((await get(world, symbol, name)).asset.identity.identity_id)


async def proposals(world: World, **query: Any) -> list[Any]:
    return list((await world.assets.ListMatchProposals(pb.ListMatchProposalsRequest(**query))).proposals)


async def test_an_import_stores_good_rows_and_reports_bad_ones_by_line(world: World) -> None:
    result = await import_(world, AAPL, "BBG000B9XRY5,BAD,,XNAS,equity,,,,\n", MSFT)
    assert (result.manifest.version, result.manifest.rows, result.manifest.added, result.manifest.rejected) == (
        1,
        3,
        2,
        1,
    )
    (rejection,) = result.rejections
    assert (rejection.line, rejection.field, rejection.message) == (3, "figi", "check digit must be 4, was 5")
    stored = await world.assets.ListRejectedIdentityRows(pb.ListRejectedIdentityRowsRequest(name="list"))
    assert (stored.total_size, stored.rows[0].value) == (1, "BBG000B9XRY5")
    (event,) = await world.events("IdentitiesImported")
    assert event["data"]["rejected"] == 1


async def test_a_later_version_changes_adds_and_withdraws(world: World) -> None:
    await import_(world, AAPL, MSFT)
    result = await import_(world, AAPL.replace("Apple Inc.", "Apple"), BITCOIN)
    manifest = result.manifest
    assert (manifest.version, manifest.added, manifest.updated, manifest.unchanged, manifest.withdrawn) == (
        2,
        1,
        1,
        0,
        1,
    )
    found = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="BBG000BPH459"))
    assert found.identity.withdrawn
    again = (await import_(world, AAPL, MSFT)).manifest
    assert (again.version, again.added, again.updated, again.withdrawn) == (3, 0, 2, 1)


async def test_a_row_with_a_character_that_cannot_be_stored_costs_no_other(world: World) -> None:
    result = await import_(world, AAPL, MSFT.replace("Microsoft", "Micro\0soft"))
    assert (result.manifest.added, result.manifest.rejected) == (1, 1)
    (rejection,) = result.rejections
    assert (rejection.line, rejection.field, rejection.message) == (3, "name", "must not contain the character NUL")


async def test_a_delta_keeps_what_it_lacks(world: World) -> None:
    await import_(world, AAPL)
    result = await import_(world, MSFT, mode=asset_pb2.MANIFEST_IMPORT_MODE_DELTA)
    assert (result.manifest.added, result.manifest.withdrawn) == (1, 0)


async def test_the_same_bytes_change_nothing(world: World) -> None:
    await import_(world, AAPL)
    again = await import_(world, AAPL)
    assert again.already_imported
    # Read in another way they say something else.
    renamed = await import_(world, AAPL, columns={"currency": "country"})
    assert not renamed.already_imported
    assert (renamed.manifest.version, renamed.manifest.updated) == (2, 1)
    assert (await import_(world, AAPL, columns={"currency": "country"})).already_imported
    assert again.manifest.version == 1


async def test_a_check_only_says_what_would_be_and_stores_nothing(world: World) -> None:
    result = await import_(world, AAPL, MSFT, validate_only=True)
    assert (result.manifest.added, result.manifest.version) == (2, 1)
    listed = await world.assets.ListIdentityManifests(pb.ListIdentityManifestsRequest())
    assert not listed.manifests
    assert not await world.events("IdentitiesImported")


async def test_a_file_without_one_good_row_fails_and_stores_nothing(world: World) -> None:
    request = pb.ImportIdentitiesRequest(name="list", content=HEADER.encode() + b",A,,,,,,,\n", file_name="a.csv")
    operation = await world.done(await world.assets.ImportIdentities(request))
    assert "must have at least one good row" in operation.error.message
    assert not (await world.assets.ListIdentities(pb.ListIdentitiesRequest())).identities


async def test_a_format_that_cannot_be_told_is_refused_at_once(world: World) -> None:
    request = pb.ImportIdentitiesRequest(name="list", content=b"x", file_name="list.txt")
    assert (await failure_of(world.assets.ImportIdentities(request))).info.reason == "INVALID_ARGUMENT"


async def test_an_upload_takes_parts_in_any_order_and_again_and_goes_on_after_a_break(world: World) -> None:
    content = (HEADER + AAPL + MSFT).encode()
    start = pb.StartManifestUploadRequest(
        file_name="list.csv", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), request_id="u1"
    )
    upload = (await world.assets.StartManifestUpload(start)).upload
    assert (await world.assets.StartManifestUpload(start)).upload.upload_id == upload.upload_id

    async def send(first: int, last: int, wrong: bool = False) -> Any:
        part = b"x" * (last - first) if wrong else content[first:last]
        request = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=first, content=part)
        return (await world.assets.UploadManifestPart(request)).upload

    assert (await send(50, 100)).received_bytes == 0
    assert (await send(0, 50, wrong=True)).received_bytes == 100
    assert (await send(0, 50)).received_bytes == 100
    early = pb.ImportIdentitiesRequest(name="list", upload_id=upload.upload_id)
    assert (await failure_of(world.assets.ImportIdentities(early))).code == grpc.StatusCode.FAILED_PRECONDITION
    state = await world.assets.GetManifestUpload(pb.GetManifestUploadRequest(upload_id=upload.upload_id))
    assert (await send(state.upload.received_bytes, len(content))).received_bytes == len(content)
    result = await world.result(await world.assets.ImportIdentities(early), asset_pb2.ImportIdentitiesResult)
    assert result.manifest.added == 2
    gone = await failure_of(world.assets.GetManifestUpload(pb.GetManifestUploadRequest(upload_id=upload.upload_id)))
    assert gone.code == grpc.StatusCode.NOT_FOUND


async def test_a_damaged_upload_is_not_imported(world: World) -> None:
    start = pb.StartManifestUploadRequest(file_name="a.csv", size_bytes=3, sha256="0" * 64)
    upload = (await world.assets.StartManifestUpload(start)).upload
    part = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=0, content=b"abc")
    await world.assets.UploadManifestPart(part)
    request = pb.ImportIdentitiesRequest(name="list", upload_id=upload.upload_id)
    operation = await world.done(await world.assets.ImportIdentities(request))
    assert "The SHA-256 of the upload must be" in operation.error.message
    beyond = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=2, content=b"ab")
    assert (await failure_of(world.assets.UploadManifestPart(beyond))).info.reason == "INVALID_ARGUMENT"
    await world.assets.DeleteManifestUpload(pb.DeleteManifestUploadRequest(upload_id=upload.upload_id))


async def test_a_symbol_stands_for_what_it_stood_for_on_the_day(world: World) -> None:
    await import_(
        world,
        "BBG000BXNJ07,FB,Facebook Inc,XNAS,equity,USD,US,2012-05-18,2022-06-09\n",
        "BBG000BXNJ07,META,Meta Platforms,XNAS,equity,USD,US,2022-06-09,\n",
        "BBG000BLNNH6,FB,Fresh Bread ETF,XNAS,equity,USD,US,2025-01-02,\n",
    )

    async def resolved(symbol: str, *day: int) -> list[str]:
        request = pb.ResolveIdentityRequest(symbol={"symbol": symbol})
        request.as_of.FromDatetime(utc(*day))
        answer = await world.assets.ResolveIdentity(request)
        return [each.identity.identity_id for each in answer.matches]

    assert await resolved("fb", 2020, 1, 1) == ["BBG000BXNJ07"]
    assert await resolved("fb", 2022, 6, 9) == []
    assert await resolved("meta", 2022, 6, 9) == ["BBG000BXNJ07"]
    assert await resolved("fb", 2025, 1, 2) == ["BBG000BLNNH6"]
    known = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="bbg000bxnj07"))
    assert [period.symbol for period in known.periods] == ["META", "FB"]
    assert known.identity.symbol == "META"


async def test_several_listings_of_a_symbol_are_flagged_and_an_exchange_decides(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    answer = await world.assets.ResolveIdentity(pb.ResolveIdentityRequest(symbol={"symbol": "abc"}))
    assert answer.ambiguous
    assert len(answer.matches) == 2
    request = pb.ResolveIdentityRequest(symbol={"symbol": "abc", "exchange": "XNYS"})
    answer = await world.assets.ResolveIdentity(request)
    assert not answer.ambiguous
    assert answer.matches[0].identity.identity_id == "BBG000BLNNH6"


async def test_numbers_assets_and_nothing_are_looked_up(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"), equity("NOTHING"))
    await match(world)
    for request in (
        pb.ResolveIdentityRequest(figi="BBG000B9XRY4"),
        pb.ResolveIdentityRequest(asset=key("alpha", "AAPL")),
    ):
        answer = await world.assets.ResolveIdentity(request)
        assert [each.identity.symbol for each in answer.matches] == ["AAPL"]
    empty = await world.assets.ResolveIdentity(pb.ResolveIdentityRequest(asset=key("alpha", "NOTHING")))
    assert not empty.matches
    failure = await failure_of(world.assets.ResolveIdentity(pb.ResolveIdentityRequest(asset=key("alpha", "X"))))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    failure = await failure_of(world.assets.ResolveIdentity(pb.ResolveIdentityRequest(common_symbol="X")))
    assert failure.code == grpc.StatusCode.NOT_FOUND


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


async def test_an_ambiguous_match_waits_for_a_decision(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC"))
    report = await match(world)
    assert (report.proposed, report.exact) == (1, 0)
    answer = await get(world, "ABC")
    assert answer.asset.identity_state == asset_pb2.IDENTITY_STATE_PROPOSED
    assert answer.proposal.cause == asset_pb2.MATCH_PROPOSAL_CAUSE_AMBIGUOUS
    assert answer.proposal.runner_up.identity.identity_id

    request = pb.AcceptMatchRequest(proposal_id=answer.proposal.proposal_id, identity_id="BBG000BXNJ07", etag="9")
    assert (await failure_of(world.assets.AcceptMatch(request))).info.reason == "ETAG_MISMATCH"
    request.etag = answer.proposal.etag
    accepted = (await world.assets.AcceptMatch(request)).proposal
    assert accepted.state == asset_pb2.MATCH_PROPOSAL_STATE_ACCEPTED
    assert accepted.asset.identity.identity_id == "BBG000BXNJ07"
    assert accepted.asset.identity.origin == asset_pb2.IDENTITY_ORIGIN_MANUAL
    assert (
        await failure_of(world.assets.AcceptMatch(pb.AcceptMatchRequest(proposal_id=accepted.proposal_id)))
    ).code == (grpc.StatusCode.FAILED_PRECONDITION)
    await match(world, rematch=True)
    assert await identity_of(world, "ABC") == "BBG000BXNJ07"
    assert await world.events("MatchAccepted")


async def test_a_rejected_pair_is_not_proposed_again(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC"))
    await match(world)
    (proposal,) = await proposals(world)
    await world.assets.RejectMatch(pb.RejectMatchRequest(proposal_id=proposal.proposal_id, reason="neither"))
    assert (await match(world)).proposed == 0
    assert not await proposals(world)
    (rejected,) = await proposals(world, filter='state = "REJECTED" AND symbol = "abc"')
    assert rejected.decided_by.principal == "operator"


async def test_a_run_again_keeps_an_open_proposal_and_a_better_one_supersedes_it(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC"))
    await match(world)
    (first,) = await proposals(world)
    await match(world)
    assert [each.proposal_id for each in await proposals(world)] == [first.proposal_id]
    await told(world, "alpha", equity("ABC", exchange="XNYS"))
    await match(world)
    assert not await proposals(world)
    assert await identity_of(world, "ABC") == "BBG000BLNNH6"


async def test_nobody_has_to_decide_any_more_about_what_its_source_identifies(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(
        world, "alpha", equity("ABC"), equity("ABC.L", matcher_symbol="ABC"), equity("ABC-X", matcher_symbol="ABC")
    )
    await match(world)
    assert len(await proposals(world)) == 3
    changed = ProviderSymbol(symbol="ABC-X", matcher_symbol="ABC")  # of no class any more
    await told(world, "alpha", equity("ABC", primary_id="BBG000BXNJ07"), equity("ABC.L", matcher_symbol="ABC"), changed)
    assert [each.asset.key.symbol for each in await proposals(world)] == ["ABC.L"]
    gone = await proposals(world, filter='state = "SUPERSEDED"')
    assert {each.asset.key.symbol for each in gone} == {"ABC", "ABC-X"}
    assert (await get(world, "ABC-X")).asset.identity_state == asset_pb2.IDENTITY_STATE_NOT_APPLICABLE

    by_hand = asset_pb2.Asset(key=key("alpha", "ABC.L"), asset_class=CRYPTO)
    await world.assets.UpdateAsset(pb.UpdateAssetRequest(asset=by_hand, update_mask={"paths": ["asset_class"]}))
    assert not await proposals(world)
    assert (await get(world, "ABC.L")).asset.identity_state == asset_pb2.IDENTITY_STATE_UNIDENTIFIED


async def test_a_preview_that_is_rejected_leaves_what_is_open(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC"))
    await match(world)
    await match(world, dry_run=True)
    (preview,) = await proposals(world, filter="state = PREVIEW")
    await world.assets.RejectMatch(pb.RejectMatchRequest(proposal_id=preview.proposal_id))
    assert len(await proposals(world)) == 1
    assert (await get(world, "ABC")).asset.identity_state == asset_pb2.IDENTITY_STATE_PROPOSED


async def test_a_dry_run_changes_no_asset_and_its_previews_can_be_accepted(world: World) -> None:
    await import_(world, AAPL)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"))
    report = await match(world, dry_run=True)
    assert (report.exact, report.dry_run) == (1, True)
    assert await identity_of(world, "AAPL") == ""
    (preview,) = await proposals(world, filter="state = PREVIEW")
    assert preview.cause == asset_pb2.MATCH_PROPOSAL_CAUSE_DRY_RUN
    await world.assets.AcceptMatch(pb.AcceptMatchRequest(proposal_id=preview.proposal_id))
    assert await identity_of(world, "AAPL") == "BBG000B9XRY4"


async def test_decisions_in_a_batch_are_all_or_none_and_name_what_failed(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", equity("ABC"))
    await told(world, "beta", equity("ABC"))
    await match(world)
    first, second = await proposals(world)
    missing = "00000000-0000-0000-0000-000000000000"
    request = pb.BatchDecideMatchesRequest(
        decisions=[{"proposal_id": first.proposal_id, "accept": True}, {"proposal_id": missing, "accept": True}]
    )
    failure = await failure_of(world.assets.BatchDecideMatches(request))
    assert failure.code == grpc.StatusCode.NOT_FOUND
    assert "decisions[1].proposal_id" in failure.everything()
    assert len(await proposals(world)) == 2
    request.decisions[1].proposal_id = second.proposal_id
    request.decisions[1].accept = False
    answer = await world.assets.BatchDecideMatches(request)
    assert [each.state for each in answer.proposals] == [2, 3]


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


async def test_a_manual_identity_is_kept_and_taken_away_by_hand(world: World) -> None:
    await import_(world, AAPL, MSFT)
    await told(world, "alpha", equity("AAPL", exchange="XNAS"))
    changed = asset_pb2.Asset(key=key("alpha", "AAPL"), identity={"identity_id": "BBG000BPH459"})
    request = pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["identity.identity_id"]})
    answer = await world.assets.UpdateAsset(request)
    assert answer.asset.identity.origin == asset_pb2.IDENTITY_ORIGIN_MANUAL
    await match(world, rematch=True)
    assert await identity_of(world, "AAPL") == "BBG000BPH459"
    changed.identity.identity_id = ""
    await world.assets.UpdateAsset(pb.UpdateAssetRequest(asset=changed, update_mask=request.update_mask))
    await match(world)
    assert await identity_of(world, "AAPL") == ""
    release = pb.UpdateAssetRequest(asset=changed, release_mask={"paths": ["identity_id"]})
    await world.assets.UpdateAsset(release)
    await match(world)
    assert await identity_of(world, "AAPL") == "BBG000B9XRY4"


async def test_an_identity_of_another_group_is_refused(world: World) -> None:
    await import_(world, BITCOIN)
    await told(world, "alpha", equity("AAPL"))
    changed = asset_pb2.Asset(key=key("alpha", "AAPL"), identity={"identity_id": "KKG00000DV14"})
    request = pb.UpdateAssetRequest(asset=changed, update_mask={"paths": ["identity.identity_id"]})
    assert (await failure_of(world.assets.UpdateAsset(request))).info.reason == "INVALID_ARGUMENT"


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


async def test_lists_of_identities_filter_by_alias_and_by_day(world: World) -> None:
    await import_(world, BITCOIN, "BBG000BXNJ07,OLD,Old Corp,XNYS,equity,USD,US,,2020-01-01\n")
    page = await world.assets.ListIdentities(pb.ListIdentitiesRequest(filter='symbol = "xbt"'))
    assert [each.symbol for each in page.identities] == ["BTC"]
    request = pb.ListIdentitiesRequest(order_by="name desc")
    request.as_of.FromDatetime(utc(2021, 1, 1))
    assert [each.symbol for each in (await world.assets.ListIdentities(request)).identities] == ["BTC"]
    old = (await world.assets.ListIdentities(pb.ListIdentitiesRequest(filter='symbol = "OLD"'))).identities[0]
    assert old.valid_to.ToDatetime(tzinfo=dt.UTC) == utc(2020, 1, 1)
    assert not old.HasField("valid_from")


async def test_manifests_are_listed_newest_first_within_their_name(world: World) -> None:
    await import_(world, AAPL, name="b")
    await import_(world, MSFT, name="b")
    await import_(world, AAPL, name="a")
    first = await world.assets.ListIdentityManifests(pb.ListIdentityManifestsRequest(page_size=2))
    rest = await world.assets.ListIdentityManifests(
        pb.ListIdentityManifestsRequest(page_size=2, page_token=first.next_page_token)
    )
    told_ = [(each.name, each.version, each.current) for each in [*first.manifests, *rest.manifests]]
    assert told_ == [("a", 1, True), ("b", 2, True), ("b", 1, False)]


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


def test_the_recorded_manifest_is_compressed() -> None:
    assert gzip.decompress(equities_file()).startswith(b"symbol,name")
