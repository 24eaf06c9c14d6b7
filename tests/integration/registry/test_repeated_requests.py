"""Requests that come again under the same id, and what of them is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from quasar.clock import SystemClock
from quasar.database.migrations import load_migrations, migrate
from quasar.database.pool import Database
from quasar.ops.rotation import rotate_system_context
from quasar.secrets import SystemContext, write_system_context
from quasar.testing.database import TestDatabaseServer
from registry.requests import RequestMark, Requests
from tests.integration.registry.stage import Stage, failure_of, source
from tests.integration.registry.test_code_uploads import upload

KEYED = "0057_registry_requests"
SECRETS = {"pin": "4711"}


async def test_a_repeated_request_has_the_answer_of_the_first(stage: Stage) -> None:
    request = upload(activate=True, secrets={"key": "v"}, request_id="r-1")
    first = await stage.code.UploadCode(request)
    events = await stage.kinds_of_events()

    again = await stage.code.UploadCode(request)

    assert (again.created_code, again.created_version, again.version.version) == (True, True, 1)
    assert again.code == first.code
    assert await stage.kinds_of_events() == events


async def test_a_request_id_cannot_be_used_for_another_upload(stage: Stage) -> None:
    await stage.code.UploadCode(upload(request_id="r-1"))

    failure = await failure_of(stage.code.UploadCode(upload(source("beta"), request_id="r-1")))

    assert failure.reason == "ALREADY_EXISTS"
    assert list(failure.violations) == ["request_id"]


async def test_what_is_kept_of_a_request_with_secrets_needs_the_system_context_to_be_guessed(stage: Stage) -> None:
    request = upload(activate=True, secrets=SECRETS, request_id="r-1")
    await stage.code.UploadCode(request)

    row = dict(await stage.database.fetchrow("select * from registry.requests"))

    plain = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
    assert len(row["fingerprint"]) == len(plain)
    assert row["fingerprint"] != plain
    assert not any(word in repr(row) for word in ("4711", "pin"))


async def test_equal_requests_are_kept_as_other_bytes_by_every_installation(
    stage: Stage, system_context: SystemContext
) -> None:
    mark = RequestMark("UploadCode", "r-1", hashlib.sha256(b"a request").digest())
    kept = []
    for context in (system_context, system_context, SystemContext.generate()):
        async with stage.database.transaction() as connection:
            await Requests(SystemClock(), context).remember(connection, mark, {})
            kept.append(await connection.fetchval("delete from registry.requests returning fingerprint"))
    assert kept[0] == kept[1] != kept[2]


async def test_after_a_rotation_of_the_system_context_an_id_is_free_again(
    stage: Stage, system_context: SystemContext, tmp_path: Path
) -> None:
    request = upload(activate=True, secrets=SECRETS, request_id="r-1")
    await stage.code.UploadCode(request)
    file = tmp_path / "rotated"
    write_system_context(file, system_context)

    assert await rotate_system_context(stage.database, file) == 1

    assert await stage.database.fetchval("select count(*) from registry.requests") == 0
    again = await stage.code.UploadCode(request)
    assert (again.created_code, again.created_version, again.version.version) == (False, False, 1)


async def test_an_upgrade_forgets_the_plain_hashes_of_before(database_server: TestDatabaseServer) -> None:
    name = await database_server.create()
    try:
        url, every = database_server.url_of(name), load_migrations()
        await migrate(url, migrations=[each for each in every if each.label < KEYED])
        async with await Database.open(url, application_name="quasar-tests", max_size=1) as database:
            await database.execute(
                "insert into registry.requests (method, request_id, fingerprint, answer) "
                "values ('UploadCode', 'r-1', sha256('a request'), '{}')"
            )
            await migrate(url)
            assert await database.fetchval("select count(*) from registry.requests") == 0
    finally:
        await database_server.drop(name)
