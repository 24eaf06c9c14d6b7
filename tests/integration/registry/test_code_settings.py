"""Secrets and preferences of code."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2

from quasar.secrets import Binding, SystemContext
from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_pb2
from quasar_proto.registry.v1 import code_service_pb2 as pb
from tests.integration.registry.stage import Stage, failure_of, provide

ALPHA = common.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="alpha")
HISTORICAL = ["PROVIDER_CAPABILITY_HISTORICAL"]
LIVE = ["PROVIDER_CAPABILITY_LIVE"]
INDEX = ["PROVIDER_CAPABILITY_INDEX"]


def struct(values: dict[str, Any]) -> struct_pb2.Struct:
    """Return nested values as a message."""
    return json_format.ParseDict(values, struct_pb2.Struct())


def update(values: dict[str, Any], **fields: Any) -> pb.UpdatePreferencesRequest:
    """Return a change of preferences."""
    return pb.UpdatePreferencesRequest(ref=ALPHA, preferences=struct(values), **fields)


async def effective(stage: Stage) -> dict[str, Any]:
    """Return the preferences that hold."""
    answer = await stage.code.GetPreferences(pb.GetPreferencesRequest(ref=ALPHA))
    found: dict[str, Any] = json_format.MessageToDict(answer.preferences.effective)
    return found


async def test_secrets_are_replaced_as_a_whole_and_only_their_names_are_told(
    stage: Stage, system_context: SystemContext
) -> None:
    await provide(stage, secrets=[{"name": "api_token", "required": True, "description": "From the vendor."}])

    first = await stage.code.ReplaceSecrets(
        pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"api_token": "hunter2", "other": "hunter3"})
    )
    second = await stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"api_token": "hunter4"}))

    assert [(one.name, one.stored, one.required) for one in first.secrets] == [
        ("api_token", True, True),
        ("other", True, False),
    ]
    assert [one.name for one in second.secrets] == ["api_token"]
    row = await stage.database.fetchrow("select * from registry.code_secrets")
    assert row["version"] == 2
    assert system_context.open(row["sealed"], Binding("provider", "alpha", 2)) == b'{"api_token":"hunter4"}'
    event = await stage.last_event("SecretsReplaced")
    assert event["data"] == {"before": {"names": ["api_token", "other"]}, "after": {"names": ["api_token"]}}
    assert stage.datahub.reloaded[-1] == "alpha"


async def test_a_required_secret_cannot_be_left_out(stage: Stage) -> None:
    await provide(stage, secrets=[{"name": "api_token", "required": True}])

    failure = await failure_of(
        stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"other": "hunter2"}))
    )

    assert list(failure.violations) == ['secrets["api_token"]']
    assert "hunter2" not in failure.everything()


@pytest.mark.parametrize("secrets", [{}, {"a b": "hunter2"}, {"key": ""}])
async def test_no_secrets_wrong_names_and_empty_values_are_refused(stage: Stage, secrets: dict[str, str]) -> None:
    await provide(stage)

    failure = await failure_of(stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets=secrets)))

    assert failure.reason == "INVALID_ARGUMENT"
    assert "hunter2" not in failure.everything()


async def test_an_entry_that_lacks_required_settings_says_so(stage: Stage) -> None:
    needed = {"path": "account", "type": "PREFERENCE_TYPE_STRING", "required": True}
    await provide(stage, secrets=[{"name": "api_token", "required": True}], preferences=[needed])

    before = (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.missing
    await stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"api_token": "v"}))
    await stage.code.UpdatePreferences(update({"account": "mine"}))
    after = (await stage.code.GetCode(pb.GetCodeRequest(ref=ALPHA))).code.missing

    assert (list(before), list(after)) == (["api_token", "account"], [])


async def test_secrets_of_another_system_context_are_reported_as_unreadable(stage: Stage) -> None:
    await provide(stage)
    await stage.code.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"key": "v"}))
    foreign = SystemContext.generate().seal(b"{}", Binding("provider", "alpha", 1))
    await stage.database.execute("update registry.code_secrets set sealed = $1", foreign)

    failure = await failure_of(stage.code.ListSecretNames(pb.ListSecretNamesRequest(ref=ALPHA)))

    assert failure.reason == "SECRETS_UNREADABLE"
    assert failure.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_viewer_may_see_names_and_not_replace(stage: Stage) -> None:
    await provide(stage)
    viewer = stage.code_as("viewer")

    assert (await viewer.ListSecretNames(pb.ListSecretNamesRequest(ref=ALPHA))).secrets == []
    failure = await failure_of(viewer.ReplaceSecrets(pb.ReplaceSecretsRequest(ref=ALPHA, secrets={"key": "v"})))
    assert failure.code is grpc.StatusCode.PERMISSION_DENIED


async def test_the_platform_gives_fields_by_what_a_provider_can_do(stage: Stage) -> None:
    await provide(stage)

    answer = await stage.code.GetPreferencesSchema(pb.GetPreferencesSchemaRequest(ref=ALPHA))

    assert [(field.path, field.platform) for field in answer.fields] == [
        ("crypto.preferred_quote_currency", True),
        ("scheduling.delay_hours", True),
        ("data.lookback_days", True),
        ("scheduling.pre_close_seconds", True),
        ("scheduling.post_close_seconds", True),
    ]
    assert answer.version == 1
    delay = answer.fields[1]
    assert (delay.minimum, delay.maximum, delay.default_value.number_value) == (0, 24, 0)


async def test_a_change_of_one_field_leaves_its_neighbours_alone(stage: Stage) -> None:
    await provide(stage)
    await stage.code.UpdatePreferences(update({"scheduling": {"pre_close_seconds": 60, "post_close_seconds": 20}}))

    done = await stage.code.UpdatePreferences(update({"scheduling": {"pre_close_seconds": 10}}))

    held = json_format.MessageToDict(done.preferences.stored)
    assert held == {"scheduling": {"pre_close_seconds": 10.0, "post_close_seconds": 20.0}}
    assert (await effective(stage))["scheduling"] == {
        "delay_hours": 0.0,
        "pre_close_seconds": 10.0,
        "post_close_seconds": 20.0,
    }
    assert done.apply.state == code_pb2.APPLY_STATE_REPLACED
    event = await stage.last_event("PreferencesUpdated")
    assert event["data"]["before"]["preferences"]["scheduling"]["pre_close_seconds"] == 60
    assert event["data"]["after"]["preferences"]["scheduling"] == {"pre_close_seconds": 10, "post_close_seconds": 20}


@pytest.mark.parametrize(
    ("capabilities", "change", "violations"),
    [
        (HISTORICAL, {"scheduling": {"pre_close_seconds": 5}}, ["scheduling.pre_close_seconds"]),
        (LIVE, {"data": {"lookback_days": 5}}, ["data.lookback_days"]),
        (INDEX, {"scheduling": {"delay_hours": 5}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": {"delay_hourz": 7}}, ["scheduling.delay_hourz"]),
        (HISTORICAL, {"scheduling": {"delay_hours": 7}, "colour": 1}, ["colour"]),
        (HISTORICAL, {"scheduling": {"delay_hours": 25}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": {"delay_hours": -1}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": {"delay_hours": 1.5}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": {"delay_hours": "1"}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": {"delay_hours": True}}, ["scheduling.delay_hours"]),
        (HISTORICAL, {"scheduling": 5}, ["scheduling"]),
        (HISTORICAL, {"data": {"lookback_days": 0}}, ["data.lookback_days"]),
        (HISTORICAL, {"data": {"lookback_days": 8001}}, ["data.lookback_days"]),
        (INDEX, {"scheduling": {"sync_frequency": "1h"}}, ["scheduling.sync_frequency"]),
        (INDEX, {"scheduling": {"sync_frequency": ""}}, ["scheduling.sync_frequency"]),
        (INDEX, {"scheduling": {"sync_frequency": "1W"}}, ["scheduling.sync_frequency"]),
        (HISTORICAL, {}, ["preferences"]),
    ],
)
async def test_a_field_that_cannot_be_taken_is_named_and_nothing_is_stored(
    stage: Stage, capabilities: list[str], change: dict[str, Any], violations: list[str]
) -> None:
    await provide(stage, capabilities=capabilities)

    failure = await failure_of(stage.code.UpdatePreferences(update(change)))

    assert failure.reason == "INVALID_ARGUMENT"
    assert list(failure.violations) == violations
    assert await stage.database.fetchval("select preferences from registry.code_registry where name = 'alpha'") == {}


@pytest.mark.parametrize("frequency", ["1d", "1w", "1M", None])
async def test_the_frequencies_of_an_index_sync_are_accepted(stage: Stage, frequency: str | None) -> None:
    await provide(stage, capabilities=INDEX)

    await stage.code.UpdatePreferences(update({"scheduling": {"sync_frequency": frequency}}))

    assert (await effective(stage))["scheduling"] == {"sync_frequency": frequency or "1w"}


async def test_null_takes_a_value_away_and_the_default_holds_again(stage: Stage) -> None:
    await provide(stage)
    await stage.code.UpdatePreferences(update({"data": {"lookback_days": 30}, "scheduling": {"delay_hours": 2}}))

    done = await stage.code.UpdatePreferences(update({"data": {"lookback_days": None}}))

    assert json_format.MessageToDict(done.preferences.stored) == {"scheduling": {"delay_hours": 2.0}}
    assert (await effective(stage))["data"] == {"lookback_days": 8000.0}


async def test_preferences_that_a_new_version_does_not_take_stay_stored_and_are_told(stage: Stage) -> None:
    field = {"path": "depth", "type": "PREFERENCE_TYPE_INTEGER", "default_value": 10, "minimum": 1, "maximum": 100}
    await provide(stage, preferences=[field])
    await stage.code.UpdatePreferences(update({"depth": 50}))

    await provide(stage, preferences=[{**field, "maximum": 20}])

    held = (await stage.code.GetPreferences(pb.GetPreferencesRequest(ref=ALPHA))).preferences
    assert json_format.MessageToDict(held.stored) == {"depth": 50.0}
    assert list(held.ignored) == ["depth"]
    assert json_format.MessageToDict(held.effective)["depth"] == 10


async def test_a_change_can_be_tried_without_storing_it(stage: Stage) -> None:
    await provide(stage)

    tried = await stage.code.UpdatePreferences(update({"data": {"lookback_days": 30}}, validate_only=True))

    assert json_format.MessageToDict(tried.preferences.effective)["data"] == {"lookback_days": 30.0}
    assert not tried.HasField("apply")
    assert (await effective(stage))["data"] == {"lookback_days": 8000.0}


async def test_of_two_changes_with_one_etag_only_one_is_taken(stage: Stage) -> None:
    await provide(stage)
    etag = (await stage.code.GetPreferences(pb.GetPreferencesRequest(ref=ALPHA))).preferences.etag

    calls = [stage.code.UpdatePreferences(update({"data": {"lookback_days": days}}, etag=etag)) for days in range(1, 9)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    taken = [one for one in outcomes if not isinstance(one, BaseException)]
    refused = [one for one in outcomes if isinstance(one, grpc.aio.AioRpcError)]
    assert len(taken) == 1
    assert {one.code() for one in refused} == {grpc.StatusCode.ABORTED}


async def test_changes_of_different_fields_at_once_are_all_kept(stage: Stage) -> None:
    fields = [{"path": f"group.f{number}", "type": "PREFERENCE_TYPE_INTEGER"} for number in range(12)]
    await provide(stage, preferences=fields)

    await asyncio.gather(
        *(stage.code.UpdatePreferences(update({"group": {f"f{number}": number}})) for number in range(12))
    )

    assert (await effective(stage))["group"] == {f"f{number}": float(number) for number in range(12)}
