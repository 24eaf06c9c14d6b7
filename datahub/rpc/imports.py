"""Uploads and imports as the contract has them."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from datahub.reads.import_files import FIELDS
from datahub.reads.imports import KIND, Imports
from datahub.reads.uploads import Upload, Uploads
from datahub.rpc.operations import result_of
from datahub.rpc.series_messages import series_info, series_name
from quasar.errors import FailedPrecondition, NotFound, Resource
from quasar.model.violations import violation
from quasar.ops.operation_context import OperationContext
from quasar.ops.operations import OperationResult, Operations
from quasar.ops.runner import OperationRunner
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.ops.operation_service import operation_message
from quasar.rpc.wellknown import timestamp
from quasar_proto.datahub.v1 import market_data_service_pb2 as pb

MOST_CHUNK_BYTES = 2 << 20


class UploadCalls:
    """The calls that bring files in."""

    def __init__(self, uploads: Uploads, operations: Operations, providers: Any) -> None:
        """Keep files in `uploads`; imports become operations.

        Args:
            uploads: Where files are kept.
            operations: Where imports are recorded.
            providers: Returns the providers by name.
        """
        self._uploads = uploads
        self._operations = operations
        self._providers = providers

    async def create(self, request: pb.CreateUploadRequest) -> pb.CreateUploadResponse:
        """Open an upload."""
        upload = await self._uploads.create(request.file_name, request.size_bytes, request.sha256, request.request_id)
        return pb.CreateUploadResponse(upload=upload_message(upload))

    async def append(self, request: pb.AppendUploadRequest) -> pb.AppendUploadResponse:
        """Append bytes."""
        upload = await self._uploads.append(request.upload_id, request.offset, request.data)
        return pb.AppendUploadResponse(upload=upload_message(upload))

    async def begin(self, request: pb.ImportSeriesRequest) -> pb.ImportSeriesResponse:
        """Begin an import.

        Raises:
            NotFound: The upload or the provider does not exist.
            FailedPrecondition: The upload is incomplete or its digest differs.
            InvalidArgument: The time zone, the interval or a field is none.
        """
        asked = await self._asked(request)
        try:
            upload = await self._uploads.get(request.upload_id)
        except NotFound:
            if not request.request_id:
                raise
            upload = None  # a call that is repeated after the import has consumed its upload
        if upload is not None:
            await self._uploads.check(upload)
        operation = await self._operations.submit(
            KIND,
            asked,
            subject_type="upload",
            subject=upload.file_name if upload else request.upload_id,
            actor=calling_actor(),
            request_id=request.request_id,
        )
        return pb.ImportSeriesResponse(operation=operation_message(operation))

    async def _asked(self, request: pb.ImportSeriesRequest) -> dict[str, Any]:
        names = dict(request.column_names)
        for name in names:
            if name not in FIELDS:
                raise violation("column_names", f"keyed by fields of a bar ({', '.join(FIELDS)})", name)
        series: list[str] = []
        if request.HasField("series"):
            found = series_name(request.series)
            if not found.interval:
                raise FailedPrecondition(f"{found} is a series of ticks; files hold bars, give an interval.")
            if found.provider not in await self._providers():
                what = Resource("provider", found.provider)
                raise NotFound(f"There is no provider {found.provider}.", resource=what)
            series = [found.provider, found.symbol, found.interval]
        return {
            "upload_id": request.upload_id,
            "format": int(request.format),
            "series": series,
            "column_names": names,
            "time_zone": _zone(request.time_zone),
            "times_are_closes": request.times_are_closes,
            "only_new": request.mode == pb.IMPORT_MODE_FILL,
            "validate_only": request.validate_only,
        }


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key if name else ""
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise violation("time_zone", "the name of a time zone ('America/New_York')", name) from None


def upload_message(upload: Upload) -> pb.Upload:
    """Return an upload as a message."""
    return pb.Upload(
        upload_id=str(upload.upload_id),
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        received_bytes=upload.received_bytes,
        max_chunk_bytes=MOST_CHUNK_BYTES,
        expire_time=timestamp(upload.expire_time),
    )


def register_imports(runner: OperationRunner, imports: Imports) -> None:
    """Have `runner` do imports."""

    async def run(context: OperationContext) -> OperationResult:
        done, series = await imports.run(context)
        result = pb.ImportSeriesResult(
            rows=done.rows,
            inserted=done.inserted,
            updated=done.updated,
            unchanged=done.unchanged,
            quarantined=done.quarantined,
            series=[series_info(one) for one in series],
            validated_only=bool(context.request["validate_only"]),
            errors=done.errors,
        )
        return result_of(result)

    runner.register(KIND, run)
