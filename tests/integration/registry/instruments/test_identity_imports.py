from __future__ import annotations

import gzip
import hashlib
from typing import Any

import grpc

from quasar_proto.registry.v1 import asset_pb2
from quasar_proto.registry.v1 import asset_service_pb2 as pb
from tests.integration.registry.instruments.identity_calls import AAPL, BITCOIN, HEADER, MSFT, import_
from tests.integration.registry.instruments.world import World
from tests.integration.rpc.harness import failure_of
from tests.unit.registry.recorded_identity import equities_file


async def test_an_import_stores_good_rows_and_reports_bad_ones_by_line(world: World) -> None:
    result = await import_(world, AAPL, "BBG000B9XRY5,BAD,,XNAS,equity,,,,\n", MSFT)
    assert (result.manifest.version, result.manifest.rows, result.manifest.added, result.manifest.rejected) == (
        1,
        3,
        2,
        1,
    )
    (rejection,) = result.rejections
    assert (rejection.line, rejection.field, rejection.message) == (3, "figi", "check digit must be 4, was 5")
    stored = await world.assets.ListRejectedIdentityRows(pb.ListRejectedIdentityRowsRequest(name="list"))
    assert (stored.total_size, stored.rows[0].value) == (1, "BBG000B9XRY5")
    (event,) = await world.events("IdentitiesImported")
    assert event["data"]["rejected"] == 1


async def test_a_later_version_changes_adds_and_withdraws(world: World) -> None:
    await import_(world, AAPL, MSFT)
    result = await import_(world, AAPL.replace("Apple Inc.", "Apple"), BITCOIN)
    manifest = result.manifest
    assert (manifest.version, manifest.added, manifest.updated, manifest.unchanged, manifest.withdrawn) == (
        2,
        1,
        1,
        0,
        1,
    )
    found = await world.assets.GetIdentity(pb.GetIdentityRequest(identity_id="BBG000BPH459"))
    assert found.identity.withdrawn
    again = (await import_(world, AAPL, MSFT)).manifest
    assert (again.version, again.added, again.updated, again.withdrawn) == (3, 0, 2, 1)


async def test_a_row_with_a_character_that_cannot_be_stored_costs_no_other(world: World) -> None:
    result = await import_(world, AAPL, MSFT.replace("Microsoft", "Micro\0soft"))
    assert (result.manifest.added, result.manifest.rejected) == (1, 1)
    (rejection,) = result.rejections
    assert (rejection.line, rejection.field, rejection.message) == (3, "name", "must not contain the character NUL")


async def test_a_delta_keeps_what_it_lacks(world: World) -> None:
    await import_(world, AAPL)
    result = await import_(world, MSFT, mode=asset_pb2.MANIFEST_IMPORT_MODE_DELTA)
    assert (result.manifest.added, result.manifest.withdrawn) == (1, 0)


async def test_the_same_bytes_change_nothing(world: World) -> None:
    await import_(world, AAPL)
    again = await import_(world, AAPL)
    assert again.already_imported
    # Read in another way they say something else.
    renamed = await import_(world, AAPL, columns={"currency": "country"})
    assert not renamed.already_imported
    assert (renamed.manifest.version, renamed.manifest.updated) == (2, 1)
    assert (await import_(world, AAPL, columns={"currency": "country"})).already_imported
    assert again.manifest.version == 1


async def test_a_check_only_says_what_would_be_and_stores_nothing(world: World) -> None:
    result = await import_(world, AAPL, MSFT, validate_only=True)
    assert (result.manifest.added, result.manifest.version) == (2, 1)
    listed = await world.assets.ListIdentityManifests(pb.ListIdentityManifestsRequest())
    assert not listed.manifests
    assert not await world.events("IdentitiesImported")


async def test_a_file_without_one_good_row_fails_and_stores_nothing(world: World) -> None:
    request = pb.ImportIdentitiesRequest(name="list", content=HEADER.encode() + b",A,,,,,,,\n", file_name="a.csv")
    operation = await world.done(await world.assets.ImportIdentities(request))
    assert "must have at least one good row" in operation.error.message
    assert not (await world.assets.ListIdentities(pb.ListIdentitiesRequest())).identities


async def test_a_format_that_cannot_be_told_is_refused_at_once(world: World) -> None:
    request = pb.ImportIdentitiesRequest(name="list", content=b"x", file_name="list.txt")
    assert (await failure_of(world.assets.ImportIdentities(request))).info.reason == "INVALID_ARGUMENT"


async def test_an_upload_takes_parts_in_any_order_and_again_and_goes_on_after_a_break(world: World) -> None:
    content = (HEADER + AAPL + MSFT).encode()
    start = pb.StartManifestUploadRequest(
        file_name="list.csv", size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest(), request_id="u1"
    )
    upload = (await world.assets.StartManifestUpload(start)).upload
    assert (await world.assets.StartManifestUpload(start)).upload.upload_id == upload.upload_id

    async def send(first: int, last: int, wrong: bool = False) -> Any:
        part = b"x" * (last - first) if wrong else content[first:last]
        request = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=first, content=part)
        return (await world.assets.UploadManifestPart(request)).upload

    assert (await send(50, 100)).received_bytes == 0
    assert (await send(0, 50, wrong=True)).received_bytes == 100
    assert (await send(0, 50)).received_bytes == 100
    early = pb.ImportIdentitiesRequest(name="list", upload_id=upload.upload_id)
    assert (await failure_of(world.assets.ImportIdentities(early))).code == grpc.StatusCode.FAILED_PRECONDITION
    state = await world.assets.GetManifestUpload(pb.GetManifestUploadRequest(upload_id=upload.upload_id))
    assert (await send(state.upload.received_bytes, len(content))).received_bytes == len(content)
    result = await world.result(await world.assets.ImportIdentities(early), asset_pb2.ImportIdentitiesResult)
    assert result.manifest.added == 2
    gone = await failure_of(world.assets.GetManifestUpload(pb.GetManifestUploadRequest(upload_id=upload.upload_id)))
    assert gone.code == grpc.StatusCode.NOT_FOUND


async def test_a_damaged_upload_is_not_imported(world: World) -> None:
    start = pb.StartManifestUploadRequest(file_name="a.csv", size_bytes=3, sha256="0" * 64)
    upload = (await world.assets.StartManifestUpload(start)).upload
    part = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=0, content=b"abc")
    await world.assets.UploadManifestPart(part)
    request = pb.ImportIdentitiesRequest(name="list", upload_id=upload.upload_id)
    operation = await world.done(await world.assets.ImportIdentities(request))
    assert "The SHA-256 of the upload must be" in operation.error.message
    beyond = pb.UploadManifestPartRequest(upload_id=upload.upload_id, offset=2, content=b"ab")
    assert (await failure_of(world.assets.UploadManifestPart(beyond))).info.reason == "INVALID_ARGUMENT"
    await world.assets.DeleteManifestUpload(pb.DeleteManifestUploadRequest(upload_id=upload.upload_id))


async def test_manifests_are_listed_newest_first_within_their_name(world: World) -> None:
    await import_(world, AAPL, name="b")
    await import_(world, MSFT, name="b")
    await import_(world, AAPL, name="a")
    first = await world.assets.ListIdentityManifests(pb.ListIdentityManifestsRequest(page_size=2))
    rest = await world.assets.ListIdentityManifests(
        pb.ListIdentityManifestsRequest(page_size=2, page_token=first.next_page_token)
    )
    told_ = [(each.name, each.version, each.current) for each in [*first.manifests, *rest.manifests]]
    assert told_ == [("a", 1, True), ("b", 2, True), ("b", 1, False)]


def test_the_recorded_manifest_is_compressed() -> None:
    assert gzip.decompress(equities_file()).startswith(b"symbol,name")


async def test_a_check_leaves_its_upload_to_be_imported(world: World) -> None:
    content = (HEADER + AAPL).encode()
    start = pb.StartManifestUploadRequest(file_name="list.csv", size_bytes=len(content))
    upload_id = (await world.assets.StartManifestUpload(start)).upload.upload_id
    await world.assets.UploadManifestPart(pb.UploadManifestPartRequest(upload_id=upload_id, offset=0, content=content))

    added = []
    for only in (True, False):
        request = pb.ImportIdentitiesRequest(name="list", upload_id=upload_id, validate_only=only)
        answer = await world.assets.ImportIdentities(request)
        added.append((await world.result(answer, asset_pb2.ImportIdentitiesResult)).manifest.added)

    assert added == [1, 1]


async def test_files_of_one_message_that_cannot_be_imported_leave_no_open_upload(world: World) -> None:
    for number in range(3):
        content = HEADER.encode() + f",A{number},,,,,,,\n".encode()
        request = pb.ImportIdentitiesRequest(name="list", content=content, file_name="a.csv")
        operation = await world.done(await world.assets.ImportIdentities(request))
        assert "must have at least one good row" in operation.error.message
    assert await world.owner.fetchval("select count(*) from registry.manifest_uploads") == 0
