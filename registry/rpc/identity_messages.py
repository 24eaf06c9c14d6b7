"""Identities, manifests, uploads and proposals as messages of the contract."""

from __future__ import annotations

import uuid

from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import timestamp
from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from registry.identities.directory import Match, Sought
from registry.identities.imports import Imported, ImportRequest, Manifest
from registry.identities.rows import RejectedIdentity
from registry.identities.uploads import PART_LIMIT, Upload
from registry.matching.candidates import Score
from registry.matching.decisions import Thresholds
from registry.matching.proposals import Choice, ShownProposal
from registry.rpc.asset_messages import asset_message, key_of, match_report_message
from registry.rpc.words import class_number, class_word, group_number, method_number
from registry.store.identities import Identity
from registry.store.proposals import StoredCandidate


def identity_message(identity: Identity, asset_count: int | None = None) -> asset_pb2.Identity:
    """Return one period of an identity as a message."""
    return asset_pb2.Identity(
        identity_id=identity.identity_id,
        figi=identity.figi or "",
        composite_figi=identity.composite_figi or "",
        share_class_figi=identity.share_class_figi or "",
        isin=identity.isin or "",
        cusip=identity.cusip or "",
        exchange=identity.exchange,
        symbol=identity.symbol,
        aliases=identity.aliases,
        name=identity.name,
        asset_class=class_number(identity.asset_class),
        identity_group=group_number(identity.identity_group),
        currency=identity.currency,
        country=identity.country,
        valid_from=timestamp(identity.valid_from),
        valid_to=timestamp(identity.valid_to),
        manifest=identity.manifest,
        manifest_version=identity.manifest_version,
        withdrawn=identity.withdrawn,
        asset_count=asset_count,
    )


def match_message(match: Match) -> asset_pb2.MatchCandidate:
    """Return an identity that fits as a message."""
    return asset_pb2.MatchCandidate(
        identity=identity_message(match.identity),
        method=method_number(match.candidate.method),
        confidence=match.candidate.confidence,
        reason=match.candidate.reason,
    )


def sought_of(request: pb.ResolveIdentityRequest) -> Sought:
    """Return what a request looks up."""
    chosen = request.WhichOneof("subject")
    if chosen == "symbol":
        given = request.symbol
        return Sought(symbol=given.symbol, exchange=given.exchange, asset_class=class_word(given.asset_class))
    if chosen == "asset":
        return Sought(asset=key_of(request.asset))
    if chosen == "common_symbol":
        return Sought(common_symbol=request.common_symbol)
    return Sought(number=request.figi or request.isin)


def upload_message(upload: Upload) -> asset_pb2.ManifestUpload:
    """Return an upload as a message."""
    return asset_pb2.ManifestUpload(
        upload_id=str(upload.upload_id),
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        received_bytes=upload.received_bytes,
        part_limit_bytes=PART_LIMIT,
        expire_time=timestamp(upload.expire_time),
    )


def import_of(request: pb.ImportIdentitiesRequest) -> ImportRequest:
    """Return the import that a request asks for."""
    uploaded = request.WhichOneof("source") == "upload_id"
    format_name = asset_pb2.ManifestFormat.Name(request.format).removeprefix("MANIFEST_FORMAT_")
    return ImportRequest(
        name=request.name,
        content=None if uploaded else request.content,
        upload_id=uuid.UUID(request.upload_id) if uploaded else None,
        format="" if format_name == "UNSPECIFIED" else format_name,
        file_name=request.file_name,
        snapshot=request.mode != asset_pb2.MANIFEST_IMPORT_MODE_DELTA,
        default_class=class_word(request.default_asset_class),
        columns=dict(request.columns),
        match_assets=request.match_assets,
        validate_only=request.validate_only,
        request_id=request.request_id,
    )


def manifest_message(manifest: Manifest) -> asset_pb2.IdentityManifest:
    """Return a version of a manifest as a message."""
    return asset_pb2.IdentityManifest(
        name=manifest.name,
        version=manifest.version,
        current=manifest.current,
        file_name=manifest.file_name,
        format=asset_pb2.ManifestFormat.Value(f"MANIFEST_FORMAT_{manifest.format}"),
        mode=asset_pb2.ManifestImportMode.Value(f"MANIFEST_IMPORT_MODE_{manifest.mode}"),
        sha256=manifest.sha256.hex(),
        size_bytes=manifest.size_bytes,
        rows=manifest.rows,
        added=manifest.added,
        updated=manifest.updated,
        unchanged=manifest.unchanged,
        withdrawn=manifest.withdrawn,
        rejected=manifest.rejected,
        create_time=timestamp(manifest.created_at),
        created_by=actor_message(manifest.created_by),
    )


def rejected_row(row: RejectedIdentity) -> asset_pb2.RejectedIdentityRow:
    """Return a row that was not taken as a message."""
    return asset_pb2.RejectedIdentityRow(line=row.line, field=row.field, value=row.value, message=row.message)


def import_result(imported: Imported) -> asset_pb2.ImportIdentitiesResult:
    """Return what an import did as a message."""
    return asset_pb2.ImportIdentitiesResult(
        manifest=manifest_message(imported.manifest),
        rejections=[rejected_row(each) for each in imported.rejections],
        already_imported=imported.already_imported,
        match=match_report_message(imported.match),
    )


def thresholds_of(request: pb.MatchAssetsRequest) -> Thresholds:
    """Return the thresholds that a request names, and the usual ones where it names none."""
    usual = Thresholds()
    return Thresholds(
        accept=request.accept_confidence if request.HasField("accept_confidence") else usual.accept,
        propose=request.propose_confidence if request.HasField("propose_confidence") else usual.propose,
        margin=request.margin if request.HasField("margin") else usual.margin,
    )


def proposal_message(shown: ShownProposal) -> asset_pb2.MatchProposal:
    """Return a proposal as a message."""
    found = shown.proposal
    return asset_pb2.MatchProposal(
        proposal_id=str(found.proposal_id),
        asset=asset_message(shown.asset),
        best=_candidate(shown, found.best),
        runner_up=_candidate(shown, found.runner_up) if found.runner_up else None,
        further_candidates=found.further,
        state=asset_pb2.MatchProposalState.Value(f"MATCH_PROPOSAL_STATE_{found.state}"),
        cause=asset_pb2.MatchProposalCause.Value(f"MATCH_PROPOSAL_CAUSE_{found.cause}"),
        operation_id=str(found.operation_id),
        create_time=timestamp(found.created_at),
        decide_time=timestamp(found.decided_at),
        decided_by=actor_message(found.decided_by),
        etag=str(found.revision),
    )


def _candidate(shown: ShownProposal, candidate: StoredCandidate) -> asset_pb2.MatchCandidate:
    return candidate_message(candidate, shown.identities.get(candidate.identity_row))


def candidate_message(candidate: StoredCandidate, identity: Identity | None) -> asset_pb2.MatchCandidate:
    """Return a candidate as a message; of an identity that is gone only its id."""
    return asset_pb2.MatchCandidate(
        identity=identity_message(identity) if identity else asset_pb2.Identity(identity_id=candidate.identity_id),
        method=method_number(candidate.method),
        confidence=candidate.confidence,
        score=_score(candidate.score),
        reason=candidate.reason,
    )


def _score(score: Score | None) -> asset_pb2.MatchScore | None:
    if score is None:
        return None
    return asset_pb2.MatchScore(
        total=score.total,
        symbol_points=score.symbol_points,
        exchange_points=score.exchange_points,
        name_points=score.name_points,
        symbol_similarity=score.symbol_similarity,
        name_similarity=score.name_similarity,
    )


def choice_of(decision: pb.MatchDecision) -> Choice:
    """Return one decision of a batch."""
    return Choice(proposal_id=uuid.UUID(decision.proposal_id), accept=decision.accept, identity_id=decision.identity_id)
