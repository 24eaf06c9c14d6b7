"""`quasar.registry.v1.AssetService`: translation only."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.wellknown import instant, timestamp
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from quasar_proto.registry.v1 import asset_service_pb2_grpc as stubs
from registry.assets import catalog
from registry.assets.editing import update_asset
from registry.assets.syncs import SyncRequest
from registry.identities import directory
from registry.matching import proposals
from registry.matching.matches import MatchRequest
from registry.matching.proposals import Choice
from registry.rpc import identity_messages as identities
from registry.rpc.asset_messages import asset_message, count_group, edit_of, key_of
from registry.rpc.code_messages import ref_of
from registry.rpc.words import class_word, mark_of
from registry.store import proposals as proposal_table
from registry.store.listing import Query
from registry.workshop import Workshop


class AssetService(stubs.AssetServiceServicer):
    """The symbols that sources know, the identities behind them, and the matches between the two."""

    def __init__(self, workshop: Workshop) -> None:
        """Serve what the workshop does."""
        self._shop = workshop
        self._ground = workshop.ground

    async def SyncAssets(self, request: pb.SyncAssetsRequest, context: Any) -> pb.SyncAssetsResponse:
        """Begin a sync of one source or of all."""
        wanted = SyncRequest(
            ref=ref_of(request.source) if request.WhichOneof("scope") == "source" else None,
            skip_matching=request.skip_matching,
            skip_mapping=request.skip_mapping,
            request_id=request.request_id,
        )
        operation, running = await self._shop.syncs.begin(wanted, calling_actor())
        return pb.SyncAssetsResponse(operation=operation_message(operation), already_running=running)

    async def ListAssets(self, request: pb.ListAssetsRequest, context: Any) -> pb.ListAssetsResponse:
        """Return a page of assets."""
        page = await catalog.list_assets(self._ground.database, _query(request), include_total=request.include_total)
        return pb.ListAssetsResponse(
            assets=[asset_message(each) for each in page.assets],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def GetAsset(self, request: pb.GetAssetRequest, context: Any) -> pb.GetAssetResponse:
        """Return an asset with its open proposal."""
        async with self._ground.database.acquire() as connection:
            asset = await catalog.get_asset(connection, *key_of(request.key))
            waiting = await proposal_table.of_asset(connection, asset.asset_id)
            shown = await proposals.shown(connection, [waiting]) if waiting else []
            second = await proposals.runner_up(connection, asset.asset_id)
        return pb.GetAssetResponse(
            asset=asset_message(asset),
            proposal=identities.proposal_message(shown[0]) if shown else None,
            runner_up=identities.candidate_message(second.candidate, second.identity) if second else None,
        )

    async def UpdateAsset(self, request: pb.UpdateAssetRequest, context: Any) -> pb.UpdateAssetResponse:
        """Set and release fields by hand."""
        asset = await update_asset(self._ground, edit_of(request), calling_actor())
        return pb.UpdateAssetResponse(asset=asset_message(asset))

    async def CountAssets(self, request: pb.CountAssetsRequest, context: Any) -> pb.CountAssetsResponse:
        """Count assets in several dimensions."""
        names = [asset_pb2.AssetDimension.Name(each).removeprefix("ASSET_DIMENSION_") for each in request.dimensions]
        total, groups = await catalog.count_assets(self._ground.database, request.filter, names)
        return pb.CountAssetsResponse(total=total, groups=[count_group(each) for each in groups])

    async def ListQuoteCurrencies(
        self, request: pb.ListQuoteCurrenciesRequest, context: Any
    ) -> pb.ListQuoteCurrenciesResponse:
        """Return the quote currencies of a source."""
        asset_class = class_word(request.asset_class) or "crypto"
        found = await catalog.quote_currencies(self._ground.database, ref_of(request.source), asset_class)
        return pb.ListQuoteCurrenciesResponse(
            currencies=[asset_pb2.QuoteCurrency(currency=name, asset_count=count) for name, count in found]
        )

    async def StartManifestUpload(
        self, request: pb.StartManifestUploadRequest, context: Any
    ) -> pb.StartManifestUploadResponse:
        """Announce a file."""
        mark = mark_of("StartManifestUpload", request)
        upload = await self._shop.uploads.start(
            request.file_name, request.size_bytes, request.sha256, mark, calling_actor()
        )
        return pb.StartManifestUploadResponse(upload=identities.upload_message(upload))

    async def UploadManifestPart(
        self, request: pb.UploadManifestPartRequest, context: Any
    ) -> pb.UploadManifestPartResponse:
        """Store a part of a file."""
        upload = await self._shop.uploads.put(uuid.UUID(request.upload_id), request.offset, request.content)
        return pb.UploadManifestPartResponse(upload=identities.upload_message(upload))

    async def GetManifestUpload(
        self, request: pb.GetManifestUploadRequest, context: Any
    ) -> pb.GetManifestUploadResponse:
        """Return how far an upload has come."""
        upload = await self._shop.uploads.get(uuid.UUID(request.upload_id))
        return pb.GetManifestUploadResponse(upload=identities.upload_message(upload))

    async def DeleteManifestUpload(
        self, request: pb.DeleteManifestUploadRequest, context: Any
    ) -> pb.DeleteManifestUploadResponse:
        """Give up an upload."""
        await self._shop.uploads.delete(uuid.UUID(request.upload_id))
        return pb.DeleteManifestUploadResponse()

    async def ImportIdentities(self, request: pb.ImportIdentitiesRequest, context: Any) -> pb.ImportIdentitiesResponse:
        """Begin an import."""
        operation = await self._shop.imports.begin(identities.import_of(request), calling_actor())
        return pb.ImportIdentitiesResponse(operation=operation_message(operation))

    async def ListIdentities(self, request: pb.ListIdentitiesRequest, context: Any) -> pb.ListIdentitiesResponse:
        """Return a page of identities."""
        as_of = instant(request.as_of) if request.HasField("as_of") else None
        found, following = await directory.list_identities(self._ground.database, _query(request), as_of)
        return pb.ListIdentitiesResponse(
            identities=[identities.identity_message(each) for each in found], next_page_token=following
        )

    async def GetIdentity(self, request: pb.GetIdentityRequest, context: Any) -> pb.GetIdentityResponse:
        """Return an identity with everything about it."""
        known = await directory.get_identity(self._ground.database, request.identity_id, self._now())
        return pb.GetIdentityResponse(
            identity=identities.identity_message(known.identity, known.asset_count),
            periods=[identities.identity_message(each) for each in known.periods],
            assets=[asset_message(each) for each in known.assets],
            common_symbols=known.common_symbols,
        )

    async def ResolveIdentity(self, request: pb.ResolveIdentityRequest, context: Any) -> pb.ResolveIdentityResponse:
        """Say what something stood for."""
        as_of = instant(request.as_of) if request.HasField("as_of") else self._now()
        found = await directory.resolve(self._ground.database, identities.sought_of(request), as_of)
        return pb.ResolveIdentityResponse(
            matches=[identities.match_message(each) for each in found.matches],
            ambiguous=found.ambiguous,
            as_of=timestamp(found.as_of),
        )

    async def ListIdentityManifests(
        self, request: pb.ListIdentityManifestsRequest, context: Any
    ) -> pb.ListIdentityManifestsResponse:
        """Return a page of manifests."""
        found, following = await directory.list_manifests(self._ground.database, _query(request))
        return pb.ListIdentityManifestsResponse(
            manifests=[identities.manifest_message(each) for each in found], next_page_token=following
        )

    async def ListRejectedIdentityRows(
        self, request: pb.ListRejectedIdentityRowsRequest, context: Any
    ) -> pb.ListRejectedIdentityRowsResponse:
        """Return a page of the rows that were not taken."""
        rows, following, total = await directory.list_rejections(
            self._ground.database, request.name, request.version, _query(request)
        )
        return pb.ListRejectedIdentityRowsResponse(
            rows=[identities.rejected_row(each) for each in rows], next_page_token=following, total_size=total
        )

    async def MatchAssets(self, request: pb.MatchAssetsRequest, context: Any) -> pb.MatchAssetsResponse:
        """Begin a match."""
        wanted = MatchRequest(
            refs=[ref_of(each) for each in request.sources],
            filter=request.filter,
            dry_run=request.dry_run,
            rematch=request.rematch,
            exact_only=request.exact_only,
            thresholds=identities.thresholds_of(request),
            as_of=instant(request.as_of) if request.HasField("as_of") else None,
            request_id=request.request_id,
        )
        operation = await self._shop.matches.begin(wanted, calling_actor())
        return pb.MatchAssetsResponse(operation=operation_message(operation))

    async def ListMatchProposals(
        self, request: pb.ListMatchProposalsRequest, context: Any
    ) -> pb.ListMatchProposalsResponse:
        """Return a page of proposals."""
        found, following = await proposals.list_proposals(self._ground.database, _query(request), self._now())
        return pb.ListMatchProposalsResponse(
            proposals=[identities.proposal_message(each) for each in found], next_page_token=following
        )

    async def AcceptMatch(self, request: pb.AcceptMatchRequest, context: Any) -> pb.AcceptMatchResponse:
        """Accept a proposal."""
        choice = Choice(
            proposal_id=uuid.UUID(request.proposal_id), accept=True, identity_id=request.identity_id, etag=request.etag
        )
        shown = await proposals.decide_one(self._ground, choice, calling_actor())
        return pb.AcceptMatchResponse(proposal=identities.proposal_message(shown))

    async def RejectMatch(self, request: pb.RejectMatchRequest, context: Any) -> pb.RejectMatchResponse:
        """Reject a proposal."""
        choice = Choice(
            proposal_id=uuid.UUID(request.proposal_id), accept=False, etag=request.etag, reason=request.reason
        )
        shown = await proposals.decide_one(self._ground, choice, calling_actor())
        return pb.RejectMatchResponse(proposal=identities.proposal_message(shown))

    async def BatchDecideMatches(
        self, request: pb.BatchDecideMatchesRequest, context: Any
    ) -> pb.BatchDecideMatchesResponse:
        """Decide several proposals, all or none."""
        choices = [identities.choice_of(each) for each in request.decisions]
        shown = await proposals.decide_all(self._ground, choices, calling_actor())
        return pb.BatchDecideMatchesResponse(proposals=[identities.proposal_message(each) for each in shown])

    def _now(self) -> dt.datetime:
        return self._ground.clock.now()


def _query(request: Any) -> Query:
    """Return what a list request asks for."""
    return Query(
        filter=getattr(request, "filter", ""),
        order_by=getattr(request, "order_by", ""),
        page_size=request.page_size,
        page_token=request.page_token,
    )
