"""Many clients at once, mixing reads and writes of code and subscriptions: what must always be true stays true."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from quasar_proto.common.v1 import code_pb2 as common
from quasar_proto.common.v1 import values_pb2
from quasar_proto.registry.v1 import code_service_pb2 as code
from quasar_proto.registry.v1 import subscription_pb2
from quasar_proto.registry.v1 import subscription_service_pb2 as subscriptions
from tests.integration.registry.stage import Stage, source

PROVIDER = values_pb2.CODE_KIND_PROVIDER
CLIENTS = 100
STEPS = 12
NAMES = ("alpha", "beta", "gamma")
EXPECTED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.ABORTED,
}
"""What a client may meet while others change the same things."""


class Client:
    """Does one thing after the other, drawn from a seed of its own."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.random = random.Random(seed)

    @property
    def ref(self) -> common.CodeRef:
        return common.CodeRef(kind=PROVIDER, name=self.random.choice(NAMES))

    async def upload(self) -> None:
        name = self.random.choice(NAMES)
        content = source(name, description=f"variant {self.random.randrange(6)}")
        request = code.UploadCodeRequest(kind=PROVIDER, file_name=f"{name}.py", content=content, activate=True)
        await self.stage.code.UploadCode(request)

    async def activate(self) -> None:
        request = code.ActivateCodeVersionRequest(ref=self.ref, version=self.random.randint(1, 6))
        await self.stage.code.ActivateCodeVersion(request)

    async def deactivate(self) -> None:
        await self.stage.code.DeactivateCode(code.DeactivateCodeRequest(ref=self.ref))

    async def delete(self) -> None:
        if self.random.random() < 0.2:
            await self.stage.code.DeleteCode(code.DeleteCodeRequest(ref=self.ref, force=True))

    async def replace_secrets(self) -> None:
        request = code.ReplaceSecretsRequest(ref=self.ref, secrets={"key": str(self.random.random())})
        await self.stage.code.ReplaceSecrets(request)

    async def read(self) -> None:
        await self.stage.code.ListCode(code.ListCodeRequest())
        await self.stage.code.GetCode(code.GetCodeRequest(ref=self.ref))
        await self.stage.subscriptions.ListSubscribedSeries(subscriptions.ListSubscribedSeriesRequest())

    async def subscribe(self) -> None:
        names = self.random.sample([f"S{number}" for number in range(12)], 4)
        wishes = [
            subscription_pb2.NewSubscription(
                provider=self.random.choice(NAMES), interval="1d", selector=subscription_pb2.Selector(symbol=name)
            )
            for name in names
        ]
        request = subscriptions.BatchCreateSubscriptionsRequest(subscriptions=wishes, skip_existing=True)
        await self.stage.subscriptions.BatchCreateSubscriptions(request)

    async def pause(self) -> None:
        some = subscriptions.SubscriptionSet(filter=f'symbol = "S{self.random.randrange(12)}"')
        await self.stage.subscriptions.BatchPauseSubscriptions(
            subscriptions.BatchPauseSubscriptionsRequest(subscriptions=some)
        )

    async def unsubscribe(self) -> None:
        some = subscriptions.SubscriptionSet(filter=f'symbol = "S{self.random.randrange(12)}"')
        await self.stage.subscriptions.BatchDeleteSubscriptions(
            subscriptions.BatchDeleteSubscriptionsRequest(subscriptions=some)
        )

    async def run(self) -> list[grpc.aio.AioRpcError]:
        """Do some steps; return the failures that nobody should meet."""
        steps: list[Callable[[], Awaitable[Any]]] = [
            self.upload,
            self.activate,
            self.deactivate,
            self.delete,
            self.replace_secrets,
            self.read,
            self.read,
            self.subscribe,
            self.subscribe,
            self.pause,
            self.unsubscribe,
        ]
        unexpected = []
        for _ in range(STEPS):
            try:
                await self.random.choice(steps)()
            except grpc.aio.AioRpcError as error:
                if error.code() not in EXPECTED:
                    unexpected.append(error)
        return unexpected


INVARIANTS = {
    "an active version that is not stored": """
        select count(*) from registry.code_registry c
        where c.active_version is not null
            and not exists (
                select from registry.code_versions v where v.code_id = c.code_id and v.version = c.active_version)""",
    "a deleted entry that is in use": """
        select count(*) from registry.code_registry c
        where c.deleted_at is not null
            and (c.active_version is not null
                or exists (select from registry.code_secrets s where s.code_id = c.code_id)
                or exists (select from registry.provider_subscription s where s.code_id = c.code_id)
                or exists (select from registry.code_versions v where v.code_id = c.code_id))""",
    "a name twice": """
        select count(*) from (
            select from registry.code_registry group by kind, lower(name) having count(*) > 1) twice""",
    "a version number beyond the latest": """
        select count(*) from registry.code_versions v join registry.code_registry c using (code_id)
        where v.version > c.latest_version""",
    "a selection twice": """
        select count(*) from (
            select from registry.provider_subscription
            group by code_id, interval, selection_key having count(*) > 1) twice""",
    "a subscription without its series": """
        select count(*) from registry.provider_subscription p
        where not exists (select from registry.subscription_symbols s where s.subscription_id = p.subscription_id)""",
    "a common symbol that nothing holds": """
        select count(*) from registry.common_symbols s
        where not s.explicit
            and not exists (select from registry.asset_mapping m where m.common_symbol_id = s.common_symbol_id)
            and not exists (select from registry.index_memberships i where i.common_symbol_id = s.common_symbol_id)""",
}


async def test_a_hundred_clients_at_once_leave_what_must_be_true_true(stage: Stage) -> None:
    failures = await asyncio.gather(*(Client(stage, seed).run() for seed in range(CLIENTS)))

    assert [f"{error.code()}: {error.details()}" for some in failures for error in some] == []
    broken = {name: await stage.database.fetchval(query) for name, query in INVARIANTS.items()}
    assert broken == dict.fromkeys(INVARIANTS, 0)
    changes = await stage.database.fetchval(
        "select count(*) from ops.events where kind like 'Code%' or kind like 'Subscription%'"
    )
    assert changes > CLIENTS
