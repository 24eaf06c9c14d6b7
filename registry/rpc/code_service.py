"""`quasar.registry.v1.CodeService`: translation only."""

from __future__ import annotations

from typing import Any

from quasar.errors import CodeRejected
from quasar.rpc.ops.actors import calling_actor
from quasar.rpc.wellknown import timestamp
from quasar_proto.registry.v1 import code_service_pb2 as pb
from quasar_proto.registry.v1 import code_service_pb2_grpc as stubs
from registry.code import activation, preference_changes, removal, sealing, uploads
from registry.code.catalog import Catalog
from registry.code.changes import Ground, read_entry
from registry.code.intake import Upload, UploadRejected, validate
from registry.code.owners import Report
from registry.rpc import code_messages as messages
from registry.rpc.code_messages import ref_of
from registry.rpc.words import mark_of

_CONTEXT_LINES = 3


class CodeService(stubs.CodeServiceServicer):
    """Uploading, versioning and configuring providers, brokers and strategies."""

    def __init__(self, ground: Ground, catalog: Catalog) -> None:
        """Serve the code of `ground`."""
        self._ground = ground
        self._catalog = catalog

    async def UploadCode(self, request: pb.UploadCodeRequest, context: Any) -> pb.UploadCodeResponse:
        """Validate an upload and store it as a version."""
        given = Upload(
            kind=messages.kind_of(request.kind),
            file_name=messages.file_name_of(request.file_name),
            content=request.content,
            secrets=dict(request.secrets),
            preferences=messages.mapping_of(request.preferences) if request.HasField("preferences") else None,
            activate=request.activate,
            validate_only=request.validate_only,
            expected_name=request.expected_name,
            note=request.note,
        )
        mark = mark_of("UploadCode", request)
        try:
            done = await uploads.upload(self._ground, given, mark, calling_actor())
        except UploadRejected as error:
            raise CodeRejected(error.message, details=[messages.report_detail(error.report)]) from error
        return pb.UploadCodeResponse(
            code=None if done.entry is None else messages.code_message(done.entry),
            version=None if done.version is None else messages.version_message(done.version, with_report=True),
            report=messages.report_message(done.report),
            created_code=done.created_code,
            created_version=done.created_version,
            apply=messages.outcome_message(done.outcome),
        )

    async def ValidateCode(self, request: pb.ValidateCodeRequest, context: Any) -> pb.ValidateCodeResponse:
        """Validate an upload, or a stored version once more, and store nothing."""
        return pb.ValidateCodeResponse(report=messages.report_message(await self._validate(request)))

    async def _validate(self, request: pb.ValidateCodeRequest) -> Report:
        if request.WhichOneof("subject") == "version":
            return await self._catalog.validate_again(ref_of(request.version.ref), request.version.version)
        sent = request.upload
        upload = Upload(
            kind=messages.kind_of(sent.kind),
            file_name=messages.file_name_of(sent.file_name),
            content=sent.content,
            secrets=dict(sent.secrets),
            preferences=messages.mapping_of(sent.preferences) if sent.HasField("preferences") else None,
        )
        return await validate(self._ground, upload)

    async def ListCode(self, request: pb.ListCodeRequest, context: Any) -> pb.ListCodeResponse:
        """List entries, built-in ones included."""
        page = await self._catalog.page(
            filter_text=request.filter,
            order_by=request.order_by,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListCodeResponse(
            codes=[messages.code_message(entry) for entry in page.entries],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def GetCode(self, request: pb.GetCodeRequest, context: Any) -> pb.GetCodeResponse:
        """Return one entry with what uses it."""
        return pb.GetCodeResponse(code=messages.code_message(*await self._catalog.entry(ref_of(request.ref))))

    async def ListCodeVersions(self, request: pb.ListCodeVersionsRequest, context: Any) -> pb.ListCodeVersionsResponse:
        """List the versions of an entry, newest first, with their reports."""
        page = await self._catalog.versions(
            ref_of(request.ref), page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListCodeVersionsResponse(
            versions=[messages.version_message(version, with_report=True) for version in page.versions],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    async def GetCodeSource(self, request: pb.GetCodeSourceRequest, context: Any) -> pb.GetCodeSourceResponse:
        """Return the files of a version."""
        source = await self._catalog.source(
            ref_of(request.ref), request.version, path=request.path, include_content=request.include_content
        )
        return pb.GetCodeSourceResponse(
            version=messages.version_message(source.version, with_report=False),
            files=[messages.file_message(file) for file in source.files],
            content=source.content,
        )

    async def DiffCodeVersions(self, request: pb.DiffCodeVersionsRequest, context: Any) -> pb.DiffCodeVersionsResponse:
        """Compare two versions of an entry."""
        lines = request.context_lines if request.HasField("context_lines") else _CONTEXT_LINES
        found = await self._catalog.difference(ref_of(request.ref), request.from_version, request.to_version, lines)
        return pb.DiffCodeVersionsResponse(
            from_version=found.from_version,
            to_version=found.to_version,
            files=[messages.diff_message(diff) for diff in found.files],
            manifest_changes=[messages.manifest_change_message(change) for change in found.manifest],
            unified_diff="".join(diff.unified_diff for diff in found.files),
        )

    async def ActivateCodeVersion(
        self, request: pb.ActivateCodeVersionRequest, context: Any
    ) -> pb.ActivateCodeVersionResponse:
        """Make a stored version the one that runs."""
        done = await activation.activate(
            self._ground,
            ref_of(request.ref),
            request.version,
            request.etag,
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.ActivateCodeVersionResponse(
            code=messages.code_message(done.entry),
            former_version=done.former_version,
            findings=[messages.finding_message(finding) for finding in done.findings],
            apply=messages.outcome_message(done.outcome),
        )

    async def DeactivateCode(self, request: pb.DeactivateCodeRequest, context: Any) -> pb.DeactivateCodeResponse:
        """Take an entry out of use."""
        entry, impact, outcome = await activation.deactivate(
            self._ground, ref_of(request.ref), request.etag, calling_actor(), validate_only=request.validate_only
        )
        return pb.DeactivateCodeResponse(
            code=messages.code_message(entry),
            impact=messages.impact_message(impact),
            apply=messages.outcome_message(outcome),
        )

    async def DeleteCode(self, request: pb.DeleteCodeRequest, context: Any) -> pb.DeleteCodeResponse:
        """Delete an entry, or list what would be lost."""
        impact, outcome = await removal.delete(
            self._ground,
            ref_of(request.ref),
            request.etag,
            calling_actor(),
            validate_only=request.validate_only,
            force=request.force,
        )
        return pb.DeleteCodeResponse(
            impact=messages.impact_message(impact),
            deleted=outcome is not None,
            apply=messages.outcome_message(outcome),
        )

    async def ReplaceSecrets(self, request: pb.ReplaceSecretsRequest, context: Any) -> pb.ReplaceSecretsResponse:
        """Replace all secrets of an entry."""
        names, outcome = await sealing.replace(
            self._ground, ref_of(request.ref), dict(request.secrets), request.etag, calling_actor()
        )
        return pb.ReplaceSecretsResponse(
            secrets=messages.secret_messages(names), apply=messages.outcome_message(outcome)
        )

    async def ListSecretNames(self, request: pb.ListSecretNamesRequest, context: Any) -> pb.ListSecretNamesResponse:
        """List the names of the secrets that are stored or declared."""
        names, update_time = await sealing.names(self._ground, ref_of(request.ref))
        return pb.ListSecretNamesResponse(secrets=messages.secret_messages(names), update_time=timestamp(update_time))

    async def GetPreferences(self, request: pb.GetPreferencesRequest, context: Any) -> pb.GetPreferencesResponse:
        """Return the preferences of an entry."""
        entry = await read_entry(self._ground, ref_of(request.ref))
        return pb.GetPreferencesResponse(preferences=messages.preferences_message(entry))

    async def GetPreferencesSchema(
        self, request: pb.GetPreferencesSchemaRequest, context: Any
    ) -> pb.GetPreferencesSchemaResponse:
        """Return the typed fields that a version takes."""
        fields, version = await preference_changes.fields(self._ground, ref_of(request.ref), request.version)
        return pb.GetPreferencesSchemaResponse(
            fields=[messages.field_message(field) for field in fields], version=version
        )

    async def UpdatePreferences(
        self, request: pb.UpdatePreferencesRequest, context: Any
    ) -> pb.UpdatePreferencesResponse:
        """Merge a change into the stored preferences."""
        entry, stored, outcome = await preference_changes.update(
            self._ground,
            ref_of(request.ref),
            messages.mapping_of(request.preferences),
            request.etag,
            calling_actor(),
            validate_only=request.validate_only,
        )
        return pb.UpdatePreferencesResponse(
            preferences=messages.preferences_message(entry, stored), apply=messages.outcome_message(outcome)
        )
