from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import grpc

from quasar_proto.datahub.v1.provider_pb2 import ProviderSymbol
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import (
    AAPL,
    CRYPTO,
    LONDON,
    NEW_YORK,
    equity,
    get,
    identity_of,
    import_,
    match,
    told,
)
from tests.integration.registry.instruments.world import World, key
from tests.integration.rpc.harness import failure_of


async def proposals(world: World, **query: Any) -> list[Any]:
    return list((await world.assets.ListMatchProposals(pb.ListMatchProposalsRequest(**query))).proposals)


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
    age = "update registry.match_proposals set created_at = created_at + $1::interval"
    await world.owner.execute(age, dt.timedelta(hours=-25))
    late = await failure_of(world.assets.AcceptMatch(pb.AcceptMatchRequest(proposal_id=preview.proposal_id)))
    assert late.code == grpc.StatusCode.NOT_FOUND
    await world.owner.execute(age, dt.timedelta(hours=25))
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


async def test_of_many_who_accept_one_identity_at_once_for_assets_of_a_source_one_gets_it(world: World) -> None:
    await import_(world, LONDON, NEW_YORK)
    await told(world, "alpha", *(equity(f"ABC-{n}", matcher_symbol="ABC") for n in range(8)))
    await match(world)
    waiting = await proposals(world)
    assert len(waiting) == 8

    async def accept(proposal: Any) -> str:
        request = pb.AcceptMatchRequest(proposal_id=proposal.proposal_id, identity_id="BBG000BXNJ07")
        try:
            await world.assets.AcceptMatch(request)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    outcomes = await asyncio.gather(*map(accept, waiting))

    assert sorted(outcomes) == ["ALREADY_EXISTS"] * 7 + ["OK"]
    listed = await world.assets.ListAssets(pb.ListAssetsRequest(filter='identity_id = "BBG000BXNJ07"'))
    assert len(listed.assets) == 1
