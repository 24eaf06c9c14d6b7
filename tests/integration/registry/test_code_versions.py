"""Reading, comparing, activating and deleting versions of code."""

from __future__ import annotations

import datetime as dt
from typing import Any

import grpc
import pytest

from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.datahub.v1 import provider_service_pb2 as provider
from quasar_proto.registry.v1 import code_pb2, subscription_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from quasar_proto.registry.v1 import subscription_service_pb2 as subscriptions_pb
from quasar_proto.strategy.v1 import strategy_pb2
from tests.integration.registry.stage import Stage, failure_of, make_index, map_symbol, provide, source

PROVIDER = values_pb2.CODE_KIND_PROVIDER
ALPHA = common.CodeRef(kind=PROVIDER, name="alpha")


async def upload(stage: Stage, content: bytes | None = None, **fields: Any) -> pb.UploadCodeResponse:
    """Upload a provider."""
    given = {"kind": PROVIDER, "file_name": "alpha.py", "content": content or source(), **fields}
    answer: pb.UploadCodeResponse = await stage.code.UploadCode(pb.UploadCodeRequest(**given))
    return answer


async def subscribe(stage: Stage, symbol: str = "A", interval: str = "1d") -> str:
    """Subscribe to a symbol of alpha."""
    new = subscription_pb2.NewSubscription(
        provider="alpha", interval=interval, selector=subscription_pb2.Selector(symbol=symbol)
    )
    request = subscriptions_pb.CreateSubscriptionRequest(subscription=new)
    return str((await stage.subscriptions.CreateSubscription(request)).subscription.subscription_id)


async def test_an_entry_is_read_with_what_uses_it(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    await map_symbol(stage, "alpha", "A", "APPLE")
    await subscribe(stage)

    usage = (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.usage

    assert (usage.assets, usage.mappings, usage.subscriptions, usage.indices, usage.secrets) == (2, 1, 1, 0, 0)
    assert (usage.instances, usage.series) == (0, 1)


async def test_what_nobody_can_count_at_present_is_absent(stage: Stage) -> None:
    await upload(stage)
    await stage.stop_datahub()
    await stage.stop_engine()

    usage = (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.usage

    assert not usage.HasField("instances")
    assert not usage.HasField("series")


async def test_an_unknown_name_is_not_found(stage: Stage) -> None:
    failure = await failure_of(stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA)))

    assert failure.reason == "NOT_FOUND"
    assert "'alpha'" in failure.message


async def test_built_in_code_is_listed_readable_and_cannot_be_changed(stage: Stage) -> None:
    await stage.until_built_ins()
    listed = (await stage.code.ListCode(pb.ListCodeRequest(filter="built_in = true"))).codes
    kraken = next(code for code in listed if code.ref.name == "kraken")

    assert (kraken.state, kraken.active_version) == (code_pb2.CODE_STATE_ACTIVE, 1)
    assert not kraken.HasField("create_time")
    assert kraken.manifest.capabilities
    files = (await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=kraken.ref))).files
    assert "class " in files[0].text
    for call in (
        stage.code.DeleteCode(pb.DeleteCodeRequest(ref=kraken.ref, force=True)),
        stage.code.DeactivateCode(pb.DeactivateCodeRequest(ref=kraken.ref)),
        stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=kraken.ref, version=1)),
    ):
        assert (await failure_of(call)).reason == "FAILED_PRECONDITION"


async def test_built_in_code_takes_secrets_and_preferences(stage: Stage) -> None:
    await stage.until_built_ins()
    ref = common.CodeRef(kind=PROVIDER, name="kraken")

    await stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ref, secrets={"api_key": "hunter2"}))

    names = (await stage.code.ListSecretNames(pb.ListSecretNamesRequest(ref=ref))).secrets
    assert ("api_key", True) in [(one.name, one.stored) for one in names]


async def test_entries_are_filtered_ordered_and_paged(stage: Stage) -> None:
    for name in ("beta", "alpha", "delta", "gamma"):
        await upload(stage, source(name), file_name=f"{name}.py", activate=name < "c")
    request = pb.ListCodeRequest(filter="built_in = false", order_by="state desc, name desc", page_size=3)

    first = await stage.code.ListCode(request)
    request.page_token = first.next_page_token
    second = await stage.code.ListCode(request)

    assert [code.ref.name for code in (*first.codes, *second.codes)] == ["gamma", "delta", "beta", "alpha"]
    assert (first.total_size, second.next_page_token) == (4, "")
    found = await stage.code.ListCode(pb.ListCodeRequest(filter='name:"LPH" AND interval = "1h"'))
    assert [code.ref.name for code in found.codes] == ["alpha"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"filter": "colour = 1"}, "INVALID_FILTER"),
        ({"filter": 'kind = "PLANET"'}, "INVALID_FILTER"),
        ({"order_by": "colour"}, "INVALID_FILTER"),
        ({"page_token": "abc"}, "INVALID_CURSOR"),
    ],
)
async def test_a_list_that_cannot_be_understood_is_refused(stage: Stage, fields: dict[str, str], reason: str) -> None:
    failure = await failure_of(stage.code.ListCode(pb.ListCodeRequest(**fields)))  # type: ignore[arg-type]

    assert failure.reason == reason


async def test_a_page_token_of_another_filter_is_refused(stage: Stage) -> None:
    for name in ("alpha", "beta"):
        await upload(stage, source(name), file_name=f"{name}.py")
    token = (await stage.code.ListCode(pb.ListCodeRequest(filter="built_in = false", page_size=1))).next_page_token

    failure = await failure_of(stage.code.ListCode(pb.ListCodeRequest(page_size=1, page_token=token)))

    assert failure.reason == "INVALID_CURSOR"


async def test_versions_are_listed_newest_first_with_their_reports(stage: Stage) -> None:
    for text in ("one", "two", "three"):
        await upload(stage, source(description=text), note=text)

    page = await stage.code.ListCodeVersions(pb.ListCodeVersionsRequest(ref=ALPHA, page_size=2))
    rest = await stage.code.ListCodeVersions(
        pb.ListCodeVersionsRequest(ref=ALPHA, page_size=2, page_token=page.next_page_token)
    )

    assert [version.version for version in (*page.versions, *rest.versions)] == [3, 2, 1]
    assert page.versions[0].report.passed
    assert (page.total_size, rest.next_page_token) == (3, "")


async def test_the_source_is_returned_as_it_came(stage: Stage) -> None:
    content = source()
    await upload(stage, content)

    whole = await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=ALPHA, include_content=True))
    files = await stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=ALPHA, path="alpha.py"))

    assert whole.content == content
    assert whole.files[0].omitted
    assert files.files[0].text.encode() == content
    missing = stage.code.GetCodeSource(pb.GetCodeSourceRequest(ref=ALPHA, path="nope.py"))
    assert (await failure_of(missing)).reason == "NOT_FOUND"


async def test_two_versions_are_compared_by_source_and_manifest(stage: Stage) -> None:
    await upload(stage, source() + b"# one\n", activate=True)
    await upload(stage, source(intervals=["1d"]) + b"# two\n")

    diff = await stage.code.DiffCodeVersions(pb.DiffCodeVersionsRequest(ref=ALPHA))

    assert (diff.from_version, diff.to_version) == (1, 2)
    assert [change.field for change in diff.manifest_changes] == ["intervals"]
    assert diff.manifest_changes[0].after.list_value.values[0].string_value == "1d"
    assert diff.files[0].change == code_pb2.FILE_CHANGE_MODIFIED
    assert diff.unified_diff.endswith("+# two\n")
    assert diff.unified_diff.startswith("--- a/alpha.py\n+++ b/alpha.py\n")


async def test_a_former_version_can_be_activated_again(stage: Stage) -> None:
    await upload(stage, activate=True)
    await upload(stage, source(description="two"), activate=True)

    done = await stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=1))

    assert (done.former_version, done.code.active_version) == (2, 1)
    event = await stage.last_event("CodeActivated")
    assert (event["data"]["before"], event["data"]["after"]) == ({"active_version": 2}, {"active_version": 1})
    assert (event["actor"], event["subject_type"], event["subject_name"]) == ("admin", "provider", "alpha")


async def test_activating_the_active_version_changes_nothing(stage: Stage) -> None:
    uploaded = await upload(stage, activate=True)
    events = await stage.kinds_of_events()

    again = await stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=1))

    assert again.code.etag == uploaded.code.etag
    assert await stage.kinds_of_events() == events


async def test_an_etag_that_is_old_is_refused(stage: Stage) -> None:
    old = (await upload(stage)).code.etag
    await upload(stage, source(description="two"))

    call = stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=1, etag=old))

    failure = await failure_of(call)
    assert failure.reason == "ETAG_MISMATCH"
    assert failure.code is grpc.StatusCode.ABORTED


async def test_an_activation_tells_what_it_brings_along(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    await subscribe(stage, interval="1h")
    newer = source(
        intervals=["1d"],
        capabilities=["PROVIDER_CAPABILITY_HISTORICAL"],
        secrets=[{"name": "api_token", "required": True}],
    )
    await upload(stage, newer)

    request = pb.ActivateCodeVersionRequest(ref=ALPHA, version=2, validate_only=True)
    answer = await stage.code.ActivateCodeVersion(request)

    assert [finding.rule for finding in answer.findings] == ["setting-missing", "interval-missing"]
    assert answer.code.active_version == 1
    assert not answer.HasField("apply")


@pytest.mark.parametrize("only", [False, True])
async def test_a_version_for_a_later_sdk_is_stored_and_not_activated(stage: Stage, only: bool) -> None:
    await upload(stage, source(sdk_version="99.0.0"))

    request = pb.ActivateCodeVersionRequest(ref=ALPHA, version=1, validate_only=only)
    failure = await failure_of(stage.code.ActivateCodeVersion(request))

    assert failure.reason == "FAILED_PRECONDITION"
    assert "99.0.0" in failure.message


async def test_a_version_that_does_not_exist_is_not_found(stage: Stage) -> None:
    await upload(stage)

    failure = await failure_of(stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=7)))

    assert failure.reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (grpc.StatusCode.NOT_FOUND, code_pb2.APPLY_STATE_NOT_RUNNING),
        (grpc.StatusCode.UNAVAILABLE, code_pb2.APPLY_STATE_PENDING),
        (grpc.StatusCode.UNIMPLEMENTED, code_pb2.APPLY_STATE_PENDING),
        (grpc.StatusCode.INTERNAL, code_pb2.APPLY_STATE_FAILED),
        (grpc.StatusCode.INVALID_ARGUMENT, code_pb2.APPLY_STATE_FAILED),
    ],
)
async def test_a_change_that_the_datahub_does_not_take_stays_stored(
    stage: Stage, code: grpc.StatusCode, state: Any
) -> None:
    await upload(stage)
    stage.datahub.reload = code

    done = await stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=1))

    assert done.apply.state == state
    assert done.apply.detail
    assert done.code.active_version == 1


async def test_code_is_taken_out_of_use_and_comes_back_with_all_that_belongs_to_it(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    await subscribe(stage)
    stage.datahub.reload = lambda _name: provider.ReloadProviderResponse(outcome=provider.RELOAD_OUTCOME_STOPPED)

    done = await stage.code.DeactivateCode(pb.DeactivateCodeRequest(ref=ALPHA))

    assert done.code.state == code_pb2.CODE_STATE_INACTIVE
    assert done.impact.subscriptions == 1
    assert done.apply.state == code_pb2.APPLY_STATE_APPLIED
    listed = await stage.subscriptions.ListSubscriptions(subscriptions_pb.ListSubscriptionsRequest())
    assert listed.subscriptions[0].status.health == subscription_pb2.SUBSCRIPTION_HEALTH_PROVIDER_DOWN
    back = await stage.code.ActivateCodeVersion(pb.ActivateCodeVersionRequest(ref=ALPHA, version=1))
    assert back.code.usage.subscriptions == 0
    assert (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.usage.subscriptions == 1


async def test_code_under_running_instances_cannot_be_taken_away(stage: Stage) -> None:
    content = source("cross", kind="CODE_KIND_STRATEGY", capabilities=[])
    ref = common.CodeRef(kind=values_pb2.CODE_KIND_STRATEGY, name="cross")
    await upload(stage, content, kind=values_pb2.CODE_KIND_STRATEGY, file_name="cross.py", activate=True)
    running = strategy_pb2.Instance(instance_id="live-one", strategy="cross", state=strategy_pb2.INSTANCE_STATE_RUNNING)
    stage.engine.instances["live-one"] = running

    for call in (
        stage.code.DeactivateCode(pb.DeactivateCodeRequest(ref=ref)),
        stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ref, force=True)),
    ):
        failure = await failure_of(call)
        assert failure.reason == "FAILED_PRECONDITION"
        assert "live-one" in failure.message

    running.state = strategy_pb2.INSTANCE_STATE_STOPPED
    deleted = await stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ref, force=True))
    assert (deleted.deleted, list(deleted.impact.instances)) == (True, ["live-one"])
    assert stage.engine.deleted == ["live-one"]


async def test_nothing_is_deleted_while_the_strategy_engine_cannot_be_asked(stage: Stage) -> None:
    await upload(stage)
    await stage.stop_engine()

    failure = await failure_of(stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA)))

    assert failure.reason == "SERVICE_UNAVAILABLE"
    assert (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.version_count == 1


async def test_a_deletion_lists_what_would_be_lost_and_needs_force(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B", "C"))
    await map_symbol(stage, "alpha", "A", "APPLE")
    await map_symbol(stage, "alpha", "B", "BANANA", origin="AUTOMATIC")
    await make_index(stage, "fruit", ["APPLE"])
    await subscribe(stage)
    await stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"key": "v"}))

    listed = await stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA, validate_only=True))
    refused = await failure_of(stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA)))

    impact = listed.impact
    assert not listed.deleted
    assert (impact.versions, impact.subscriptions, impact.assets) == (1, 1, 3)
    assert (impact.mappings, impact.manual_mappings) == (2, 1)
    assert list(impact.common_symbols) == ["APPLE", "BANANA"]
    assert list(impact.secret_names) == ["key"]
    assert impact.series_kept == 1
    assert refused.reason == "FAILED_PRECONDITION"
    assert "1 subscriptions, 2 mappings, 1 secrets" in refused.message


async def test_a_deletion_and_a_new_version_keep_every_bar(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    series = await stage.database.fetchval(
        "insert into datahub.series (provider, symbol, interval) values ('alpha', 'A', '1d') returning series_id"
    )
    days = dt.datetime(2026, 1, 5, tzinfo=dt.UTC), dt.datetime(2026, 1, 8, tzinfo=dt.UTC)
    await stage.database.execute("select ops.ensure_partitions('datahub.historical_data', $1, $2)", *days)
    await stage.database.execute(
        "insert into datahub.historical_data (series_id, open_time, close_time, open, high, low, close) "
        "select $1, t, t + interval '1 day', 1, 1, 1, 1 from generate_series($2::timestamptz, $3, interval '1 day') t",
        series,
        days[0],
        days[1] - dt.timedelta(days=1),
    )
    await upload(stage, source("alpha", intervals=["1d"]))
    await stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA, force=True))

    kept = "select count(*) from datahub.historical_data join datahub.series using (series_id) where provider = 'alpha'"
    assert await stage.database.fetchval(kept) == 3


async def test_a_deletion_leaves_indices_their_members_and_frees_the_name(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    await map_symbol(stage, "alpha", "A", "APPLE")
    await map_symbol(stage, "alpha", "B", "BANANA")
    await make_index(stage, "fruit", ["APPLE"])
    await subscribe(stage)

    deleted = await stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA, force=True))

    assert deleted.deleted
    assert (await failure_of(stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA)))).reason == "NOT_FOUND"
    symbols = await stage.database.fetch("select symbol from registry.common_symbols order by symbol")
    assert [row["symbol"] for row in symbols] == ["APPLE"]
    assert await stage.database.fetchval("select count(*) from registry.index_memberships") == 1
    assert await stage.database.fetchval("select count(*) from registry.assets") == 0
    assert (await stage.last_event("CodeDeleted"))["data"]["before"]["impact"]["subscriptions"] == 1
    again = await upload(stage)
    assert (again.created_code, again.version.version) == (True, 2)


async def test_a_deletion_keeps_the_assets_that_the_history_of_an_index_names(stage: Stage) -> None:
    await provide(stage, symbols=("A", "B"))
    await stage.database.execute("insert into registry.indices (name, type) values ('own', 'USER')")
    await stage.database.execute(
        "insert into registry.index_memberships (index_id, asset_id, valid_from) "
        "select i.index_id, a.asset_id, '2020-01-01' from registry.indices i, registry.assets a where a.symbol = 'A'"
    )

    await stage.code.DeleteCode(pb.DeleteCodeRequest(ref=ALPHA, force=True))

    left = await stage.database.fetch("select symbol, state from registry.assets")
    assert [tuple(row) for row in left] == [("A", "VANISHED")]
