"""Every change of code and subscriptions is an event: who, what, before, after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import field_mask_pb2

from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_service_pb2 as code
from quasar_proto.registry.v1 import mapping_service_pb2, mapping_service_pb2_grpc, subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as pb
from tests.integration.registry.changes import (
    CHANGE_NOTHING,
    CODE,
    INSTRUMENTS,
    SUBSCRIPTIONS,
    check,
    methods_that_need_more_than_a_viewer,
)
from tests.integration.registry.stage import BY_SOMEBODY, Stage, map_symbol, provide, source

ALPHA = common.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name="alpha")
CRON = field_mask_pb2.FieldMask(paths=["cron"])
FIELD = {"path": "speed", "type": "PREFERENCE_TYPE_INTEGER", "default_value": 1}


def test_every_method_that_changes_something_is_walked() -> None:
    walked = {*CODE, *SUBSCRIPTIONS, *INSTRUMENTS}
    assert methods_that_need_more_than_a_viewer() - CHANGE_NOTHING == walked


async def test_a_subscription_is_counted_in_whatever_case_it_names_its_common_symbol(stage: Stage) -> None:
    await provide(stage, symbols=("A",))
    await map_symbol(stage, "alpha", "A", "Apple")
    for name, interval in (("APPLE", "1d"), ("apple", "1h")):
        wanted = subscription_pb2.NewSubscription(
            provider="alpha", interval=interval, selector=subscription_pb2.Selector(common_symbol=name)
        )
        await stage.subscriptions.CreateSubscription(pb.CreateSubscriptionRequest(subscription=wanted))
    mappings = mapping_service_pb2_grpc.MappingServiceStub(stage.channel)
    asked = mapping_service_pb2.GetCommonSymbolRequest(symbol="aPPLE")
    found = (await mappings.GetCommonSymbol(asked, **stage.as_("viewer"))).common_symbol
    assert (found.symbol, found.subscription_count) == ("Apple", 2)


async def walk(stage: Stage, who: str, kinds: Any, steps: dict[str, Callable[[], Any]]) -> None:
    """Call the methods in turn and check the events of each."""
    assert set(steps) == set(kinds)
    for method, call in steps.items():
        last = await stage.database.fetchval("select coalesce(max(id), 0) from ops.events")
        await call()
        events = await stage.database.fetch(
            f"select * from ops.events where id > $1 and {BY_SOMEBODY} order by id",  # written by us
            last,
        )
        check(method, kinds[method], events, who)


async def test_changes_of_code_write_events(stage: Stage) -> None:
    await stage.until_built_ins()
    service = stage.code
    first, second = source("alpha", preferences=[FIELD]), source("alpha", intervals=["1d"], preferences=[FIELD])

    async def upload(content: bytes) -> Any:
        return await service.UploadCode(
            code.UploadCodeRequest(
                kind=values_pb2.CODE_KIND_PROVIDER, file_name="alpha.py", content=content, activate=True
            )
        )

    await upload(first)
    preferences = code.UpdatePreferencesRequest(ref=ALPHA)
    preferences.preferences.update({"speed": 3})
    await walk(
        stage,
        "admin",
        CODE,
        {
            "UploadCode": lambda: upload(second),
            "ActivateCodeVersion": lambda: service.ActivateCodeVersion(
                code.ActivateCodeVersionRequest(ref=ALPHA, version=1)
            ),
            "ReplaceSecrets": lambda: service.ReplaceSecrets(
                code.ReplaceSecretsRequest(ref=ALPHA, secrets={"key": "hunter2"})
            ),
            "UpdatePreferences": lambda: service.UpdatePreferences(preferences),
            "DeactivateCode": lambda: service.DeactivateCode(code.DeactivateCodeRequest(ref=ALPHA)),
            "DeleteCode": lambda: service.DeleteCode(code.DeleteCodeRequest(ref=ALPHA, force=True)),
        },
    )
    everything = await stage.database.fetchval("select string_agg(data::text || message, ' ') from ops.events")
    assert "hunter2" not in everything


async def test_changes_of_subscriptions_write_events(stage: Stage) -> None:
    await provide(stage)
    service = stage.subscriptions

    def new(symbol: str) -> subscription_pb2.NewSubscription:
        return subscription_pb2.NewSubscription(
            provider="alpha", interval="1d", selector=subscription_pb2.Selector(symbol=symbol)
        )

    made = await service.CreateSubscription(pb.CreateSubscriptionRequest(subscription=new("FIRST")))
    one = made.subscription.subscription_id
    chosen = pb.SubscriptionSet(ids=pb.SubscriptionIds(subscription_ids=[one]))
    changed = pb.UpdateSubscriptionRequest(subscription=made.subscription, update_mask=CRON)
    changed.subscription.cron = "0 0 * * *"
    together = pb.BatchUpdateSubscriptionsRequest(
        subscriptions=chosen, values=subscription_pb2.Subscription(cron="0 6 * * *"), update_mask=CRON
    )
    batch = pb.BatchCreateSubscriptionsRequest(subscriptions=[new("A"), new("B")])

    rest = pb.BatchDeleteSubscriptionsRequest(subscriptions=pb.SubscriptionSet(filter='provider = "alpha"'))
    await walk(
        stage,
        "operator",
        SUBSCRIPTIONS,
        {
            "CreateSubscription": lambda: service.CreateSubscription(
                pb.CreateSubscriptionRequest(subscription=new("OTHER"))
            ),
            "BatchCreateSubscriptions": lambda: service.BatchCreateSubscriptions(batch),
            "UpdateSubscription": lambda: service.UpdateSubscription(changed),
            "BatchUpdateSubscriptions": lambda: service.BatchUpdateSubscriptions(together),
            "PauseSubscription": lambda: service.PauseSubscription(pb.PauseSubscriptionRequest(subscription_id=one)),
            "ResumeSubscription": lambda: service.ResumeSubscription(pb.ResumeSubscriptionRequest(subscription_id=one)),
            "BatchPauseSubscriptions": lambda: service.BatchPauseSubscriptions(
                pb.BatchPauseSubscriptionsRequest(subscriptions=chosen)
            ),
            "BatchResumeSubscriptions": lambda: service.BatchResumeSubscriptions(
                pb.BatchResumeSubscriptionsRequest(subscriptions=chosen)
            ),
            "DeleteSubscription": lambda: service.DeleteSubscription(pb.DeleteSubscriptionRequest(subscription_id=one)),
            "BatchDeleteSubscriptions": lambda: service.BatchDeleteSubscriptions(rest),
        },
    )
