"""A hundred clients at once that read and write everything, and what must be true whatever they did."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from google.protobuf import field_mask_pb2

from quasar_proto.common.v1 import code_pb2, values_pb2
from quasar_proto.registry.v1 import (
    asset_pb2,
    asset_service_pb2_grpc,
    code_service_pb2,
    code_service_pb2_grpc,
    index_service_pb2_grpc,
    mapping_pb2,
    mapping_service_pb2_grpc,
    subscription_pb2,
    subscription_service_pb2_grpc,
)
from quasar_proto.registry.v1 import asset_service_pb2 as assets_pb
from quasar_proto.registry.v1 import index_service_pb2 as indices_pb
from quasar_proto.registry.v1 import mapping_service_pb2 as mappings_pb
from quasar_proto.registry.v1 import subscription_service_pb2 as subscriptions_pb
from tests.integration.registry.instruments.test_concurrency import MAY_FAIL, ORPHANS, STRAY, TWICE, UNNAMED
from tests.integration.registry.stage import Stage, source

CLIENTS, ASSETS, SYMBOLS = 100, 60, 40
NAMES = ("alpha", "beta", "gamma")
INTERVALS = ("1min", "5min", "1h", "1d")

NO_SUCH_VERSION = """
select c.name from registry.code_registry c
left join registry.code_versions v on v.code_id = c.code_id and v.version = c.active_version
where c.active_version is not null and (v.version is null or c.deleted_at is not null)
"""
NOT_THE_LATEST = """
select c.name from registry.code_registry c
where c.latest_version <> (select coalesce(max(version), 0) from registry.code_versions v where v.code_id = c.code_id)
"""
NAME_TWICE = "select kind, lower(name) from registry.code_registry group by 1, 2 having count(*) > 1"
BYTES_TWICE = "select code_id, sha256 from registry.code_versions group by 1, 2 having count(*) > 1"
WITHOUT_SOURCE = """
select a.asset_id from registry.assets a left join registry.code_registry c using (code_id) where c.code_id is null
"""
AT_ONE_TIME = """
select a.membership_id from registry.index_memberships a
join registry.index_memberships b on b.index_id = a.index_id and b.membership_id > a.membership_id
    and (b.common_symbol_id = a.common_symbol_id or b.asset_id = a.asset_id)
    and a.valid_from < b.valid_to and b.valid_from < a.valid_to
"""
SELECTED_TWICE = """
select provider, interval, selection_key from registry.provider_subscription group by 1, 2, 3 having count(*) > 1
"""
NOBODY_DID_IT = """
select id, kind from ops.events
where actor = '' and kind not in ('CodeInstalled', 'IndexCreated')  -- what the platform does by itself at its start,
  and kind not in ('IndexSynced', 'IndexSyncFailed', 'OperationFailed')  -- and when a scheduled sync falls due
"""
INVARIANTS: Final = {
    "every active version exists and its code is not deleted": NO_SUCH_VERSION,
    "the newest version is counted": NOT_THE_LATEST,
    "a name stands for one entry": NAME_TWICE,
    "the same bytes are one version": BYTES_TWICE,
    "every asset has a source": WITHOUT_SOURCE,
    "no common symbol is an orphan": ORPHANS,
    "no mapping leads to a missing asset": STRAY,
    "no member is held twice now": TWICE,
    "no member is held twice at any time": AT_ONE_TIME,
    "a source has one asset for a common symbol": UNNAMED,
    "the same selection exists once": SELECTED_TWICE,
    "every change names who did it": NOBODY_DID_IT,
}


@dataclass
class Load:
    """What clients do, and what they were told."""

    stage: Stage
    answers: Counter[str] = field(default_factory=Counter)
    strange: list[grpc.aio.AioRpcError] = field(default_factory=list)

    async def client(self, number: int, until: float) -> None:
        """Make one call after the other until it is time."""
        chance, clock = random.Random(number), asyncio.get_running_loop().time
        while clock() < until:
            name, call = self.choose(chance)
            try:
                await call()
                self.answers[name] += 1
            except grpc.aio.AioRpcError as error:
                self.answers[f"{name}: {error.code().name}"] += 1
                if error.code() not in MAY_FAIL:
                    self.strange.append(error)

    def choose(self, chance: random.Random) -> tuple[str, Callable[[], Any]]:
        """Return the name of a method and a call of it."""
        service, method, request = chance.choice((self.of_code, self.of_assets, self.of_mappings, self.of_rest))(chance)
        stub = service(self.stage.channel)
        return method, lambda: getattr(stub, method)(request, **self.stage.as_("admin"))

    def of_code(self, chance: random.Random) -> tuple[Any, str, Any]:
        """Upload, activate, configure, read code."""
        name = chance.choice(NAMES)
        ref = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name=name)
        version = source(name, description=f"Edition {chance.randrange(6)}.")
        pb = code_service_pb2
        upload = pb.UploadCodeRequest(
            kind=values_pb2.CODE_KIND_PROVIDER, file_name=f"{name}.py", content=version, activate=chance.random() < 0.5
        )
        requests = {
            "UploadCode": upload,
            "ActivateCodeVersion": pb.ActivateCodeVersionRequest(ref=ref, version=chance.randrange(1, 6)),
            "DeactivateCode": pb.DeactivateCodeRequest(ref=code_pb2.CodeRef(kind=ref.kind, name="gamma")),
            "ReplaceSecrets": pb.ReplaceSecretsRequest(ref=ref, secrets={"key": str(chance.random())}),
            "ListCode": pb.ListCodeRequest(page_size=20),
            "GetCode": pb.GetCodeRequest(ref=ref),
        }
        return code_service_pb2_grpc.CodeServiceStub, *chance.choice(list(requests.items()))

    def of_assets(self, chance: random.Random) -> tuple[Any, str, Any]:
        """Sync, edit, list, count assets."""
        asset = asset_pb2.Asset(key=_key(chance), name=f"N{chance.random()}")
        sync = assets_pb.SyncAssetsRequest(source=_key(chance).source)
        requests = {
            "SyncAssets": sync if chance.random() < 0.1 else None,
            "UpdateAsset": assets_pb.UpdateAssetRequest(
                asset=asset, update_mask=field_mask_pb2.FieldMask(paths=["name"])
            ),
            "ListAssets": assets_pb.ListAssetsRequest(page_size=20, filter="mapped = true", order_by="symbol"),
            "GetAsset": assets_pb.GetAssetRequest(key=asset.key),
            "CountAssets": assets_pb.CountAssetsRequest(),
        }
        legal = [(method, request) for method, request in requests.items() if request is not None]
        return asset_service_pb2_grpc.AssetServiceStub, *chance.choice(legal)

    def of_mappings(self, chance: random.Random) -> tuple[Any, str, Any]:
        """Map, move, rename, delete, list."""
        asset, symbol = _key(chance), f"C{chance.randrange(SYMBOLS)}"
        changed = mapping_pb2.Mapping(asset=asset, common_symbol=symbol)
        new = mappings_pb.NewMapping(asset=asset, common_symbol=symbol)
        requests = {
            "CreateMapping": mappings_pb.CreateMappingRequest(mapping=new),
            "UpdateMapping": mappings_pb.UpdateMappingRequest(
                mapping=changed, update_mask=field_mask_pb2.FieldMask(paths=["common_symbol"])
            ),
            "DeleteMapping": mappings_pb.DeleteMappingRequest(asset=asset),
            "RenameCommonSymbol": mappings_pb.RenameCommonSymbolRequest(
                symbol=symbol, new_symbol=f"C{chance.randrange(SYMBOLS)}"
            ),
            "DeleteCommonSymbol": mappings_pb.DeleteCommonSymbolRequest(symbol=symbol, force=True),
            "ListMappings": mappings_pb.ListMappingsRequest(page_size=20),
            "ListCommonSymbols": mappings_pb.ListCommonSymbolsRequest(page_size=20),
        }
        weights = [3, 1, 1, 1, 1, 1, 1]
        return mapping_service_pb2_grpc.MappingServiceStub, *chance.choices(list(requests.items()), weights)[0]

    def of_rest(self, chance: random.Random) -> tuple[Any, str, Any]:
        """Save an index, subscribe, pause, list."""
        symbol = f"C{chance.randrange(SYMBOLS)}"
        if chance.random() < 0.5:
            save = indices_pb.SetIndexMembersRequest(
                index="mine",
                members=[indices_pb.NewIndexMember(common_symbol=symbol, weight=chance.random() + 0.1)],
                allow_empty=True,
            )
            members = indices_pb.ListIndexMembersRequest(index="mine")
            found = chance.choice((("SetIndexMembers", save), ("ListIndexMembers", members)))
            return index_service_pb2_grpc.IndexServiceStub, *found
        new = subscription_pb2.NewSubscription(
            provider=chance.choice(NAMES[:2]),
            interval=chance.choice(INTERVALS),
            selector=subscription_pb2.Selector(common_symbol=symbol),
        )
        everything = subscriptions_pb.SubscriptionSet(filter=f'symbol = "{symbol}"')
        requests = {
            "CreateSubscription": subscriptions_pb.CreateSubscriptionRequest(subscription=new),
            "BatchPauseSubscriptions": subscriptions_pb.BatchPauseSubscriptionsRequest(subscriptions=everything),
            "BatchDeleteSubscriptions": subscriptions_pb.BatchDeleteSubscriptionsRequest(subscriptions=everything),
            "ListSubscriptions": subscriptions_pb.ListSubscriptionsRequest(page_size=20, without_status=True),
        }
        return subscription_service_pb2_grpc.SubscriptionServiceStub, *chance.choice(list(requests.items()))


def _key(chance: random.Random) -> asset_pb2.AssetKey:
    ref = code_pb2.CodeRef(kind=values_pb2.CODE_KIND_PROVIDER, name=chance.choice(NAMES[:2]))
    return asset_pb2.AssetKey(source=ref, symbol=f"S{chance.randrange(ASSETS)}")


async def prepare(stage: Stage) -> None:
    """Upload the providers, sync their assets, create the index."""
    await stage.until_built_ins()
    listing = ["PROVIDER_CAPABILITY_HISTORICAL", "PROVIDER_CAPABILITY_LIVE", "PROVIDER_CAPABILITY_SYMBOLS"]
    for name in NAMES:
        stage.datahub.symbols[name] = [f"S{number}" for number in range(ASSETS)]
        content = source(name, capabilities=listing)
        await stage.code.UploadCode(
            code_service_pb2.UploadCodeRequest(
                kind=values_pb2.CODE_KIND_PROVIDER, file_name=f"{name}.py", content=content, activate=True
            )
        )
    for name in NAMES[:2]:
        await stage.database.execute(
            "insert into registry.assets (code_id, symbol, asset_class) select code_id, 'S' || i, 'equity' "
            "from registry.code_registry, generate_series(0, $2::integer) i where name = $1",
            name,
            ASSETS - 1,
        )
    index = index_service_pb2_grpc.IndexServiceStub(stage.channel)
    await index.CreateIndex(indices_pb.CreateIndexRequest(name="mine"), **stage.as_("operator"))


async def crowded(stage: Stage, duration_s: float) -> Load:
    """Let all clients call for some seconds; return what they were told."""
    await prepare(stage)
    load = Load(stage)
    until = asyncio.get_running_loop().time() + duration_s
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(load.client(number, until))
    return load


async def broken(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """Return the invariants that do not hold, each with the rows that show it."""
    found = {rule: [dict(row) for row in await stage.database.fetch(sql)] for rule, sql in INVARIANTS.items()}
    return {rule: rows for rule, rows in found.items() if rows}
