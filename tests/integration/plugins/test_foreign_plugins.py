"""A plug-in in Go, packed as an operator packs it: checked, run in the jail, killed with its limits, never trusted."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from quasar import errors
from quasar.cli.dev import dev
from quasar.plugins.code import CodeVersion
from quasar.plugins.foreign import foreign_of
from quasar.plugins.jail import landlock, seccomp
from quasar.plugins.manifest import Kind
from quasar.plugins.ports import declared_ports
from quasar.plugins.provider import BarRequest, LiveSymbol
from quasar.plugins.validation import validate
from tests import go_example
from tests.go_example import packed
from tests.integration.plugins.conftest import Plugins, provider_code

DAY = 86_400_000_000_000


@pytest.fixture(scope="module")
def tides(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The example, built and packed as its first lines say."""
    return go_example.tides(tmp_path_factory.mktemp("go"))


def kernel_says(pid: int, *fields: str) -> list[str]:
    """Return what the kernel tells of a process."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return [lines[name].strip() for name in fields]


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that everybody may write to, as far as its permissions go."""
    tmp_path.chmod(0o777)
    return tmp_path


def code(source: bytes) -> CodeVersion:
    return CodeVersion(kind=Kind.PROVIDER, name="tides", source=source, file_name="tides.zip")


async def test_history_live_data_and_symbols_come_through_the_same_host(plugins: Plugins, tides: bytes) -> None:
    provider = await plugins.pool.provider(code(tides))
    assert (provider.manifest.language, provider.manifest.intervals) == ("go", ("1d",))
    wanted = [BarRequest("MOON", "1d", 0, 10 * DAY), BarRequest("STAR", "1d", 0, DAY)]
    batches = [batch async for batch in provider.fetch_bars(wanted)]
    columns = next(batch.columns for batch in batches if batch.columns is not None)
    assert columns.open_time_ns.tolist() == [day * DAY for day in range(10)]
    assert (columns.open[1:] == columns.close[:-1]).all()
    refused = next(batch.error for batch in batches if batch.request == 1 and batch.done)
    assert "MOON or SUN" in str(refused)
    assert [one.symbol async for page in provider.list_symbols() for one in page] == ["MOON", "SUN"]
    ids: list[int] = []
    async for batch in provider.stream_live([LiveSymbol("MOON")]):
        ids += [n for chunk in batch.tick_chunks if chunk.columns.trade_id is not None for n in chunk.columns.trade_id]
        if len(ids) >= 5:
            break
    assert ids == list(range(1, len(ids) + 1))


async def test_it_is_jailed_stopped_when_asked_and_started_again_when_it_dies(plugins: Plugins, tides: bytes) -> None:
    provider = await plugins.pool.provider(code(tides))
    process = provider.keeper.process
    assert process is not None
    assert kernel_says(process.pid, "Name") == ["tides"]
    posture = {item.measure: item for item in process.posture}
    assert posture["filesystem"].enforced == posture["programs"].enforced == (landlock.abi() > 0)
    assert posture["local sockets"].enforced == seccomp.supported()
    if seccomp.supported():
        assert kernel_says(process.pid, "Seccomp", "NoNewPrivs") == ["2", "1"]
    process._kill()
    await process.ended.wait()
    second = await provider.keeper.ready()
    assert second.pid != process.pid
    await plugins.pool.stop(Kind.PROVIDER, "tides")
    assert second.ended.is_set()
    assert len(plugins.notices) == 1


async def test_it_passes_validation_and_is_small_enough_to_upload(tides: bytes) -> None:
    report = await validate(Kind.PROVIDER, "tides.zip", tides)
    assert report.passed, report.findings
    assert report.manifest is not None
    assert report.manifest.name == "tides"
    assert len(tides) < 4 * 1024 * 1024


def test_quasar_dev_shows_its_bars(tides: bytes, tmp_path: Path) -> None:
    path = tmp_path / "tides.zip"
    path.write_bytes(tides)
    words = ["bars", str(path), "MOON", "--start", "2026-01-01", "--end", "2026-01-04", "--json"]
    shown = CliRunner().invoke(dev, words, catch_exceptions=False)
    assert [row["open_time"][:10] for row in json.loads(shown.stdout)] == ["2026-01-01", "2026-01-02", "2026-01-03"]


async def test_limits_of_connections_that_stand_beside_the_manifest_are_those_of_the_provider(plugins: Plugins) -> None:
    provider = await plugins.provider(
        """
        symbols_per_connection = 2
        max_live_streams = 3
        import quasar.plugins.host.plugin_service as service
        def beside(manifest, real=service.manifest_to_proto):
            made = real(manifest)
            made.symbols_per_connection = made.max_live_streams = 0
            return made
        service.manifest_to_proto = beside

        async def live(self, feed):
            yield "A", Tick(1, price=1.0)
        """
    )
    assert (provider.manifest.symbols_per_connection, provider.manifest.max_live_streams) == (2, 3)


def test_the_hosts_of_the_description_are_the_ports_that_the_jail_opens() -> None:
    text = b'kind = "provider"\ncommand = ["./run"]\nhosts = ["a.example.com", "b.example.com:9443"]\n'
    assert declared_ports(code(packed({"plugin.toml": text, "run": b""}))) == (443, 9443)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind = 1", "kind in plugin.toml must be provider, broker or strategy"),
        ('kind = "provider"', "command in plugin.toml must be a list"),
        ('kind = "provider"\ncommand = ["./other"]', "must name a file of the zip, was ./other"),
        ('kind = "provider"\ncommand = ["/bin/sh"]', "must begin with ./ or be the name of a program"),
        ('kind = "provider"\ncommand = ["./run"]\nhosts = ["a:99999"]', "hosts in plugin.toml"),
        ("kind =", "plugin.toml must be TOML"),
    ],
)
async def test_a_description_that_breaks_a_rule_is_refused_with_the_rule(text: str, words: str) -> None:
    source = packed({"plugin.toml": text.encode(), "run": b"#!"})
    with pytest.raises(errors.CodeRejected, match=words):
        foreign_of("x.zip", source)
    report = await validate(Kind.PROVIDER, "x.zip", source)
    assert (report.passed, report.findings[0].rule) == (False, "bad-plugin-toml")


def twice() -> bytes:
    content = io.BytesIO(packed({"plugin.toml": b'kind = "provider"\ncommand = ["./run"]', "run": b"1"}))
    with zipfile.ZipFile(content, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("run", b"2")
    return content.getvalue()


def encrypted() -> bytes:
    content = bytearray(packed({"plugin.toml": b'kind = "provider"\ncommand = ["./run"]', "run": b"1" * 100}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rindex(mark) + offset] |= 1  # says that the last file has a password
    return bytes(content)


def described(text: str, **files: bytes) -> bytes:
    return packed({"plugin.toml": f'kind = "provider"\n{text}'.encode(), "run": b"#!", **files})


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(twice(), id="a name twice"),
        pytest.param(encrypted(), id="a file with a password"),
        pytest.param(described('command = ["./run"]', **{"run/inner": b""}), id="a file that is a folder, too"),
        pytest.param(described('command = ["./run"]', **{"x" * 300: b""}), id="a name that is too long"),
        pytest.param(described('command = ["./run", "a\\u0000b"]'), id="NUL in a word"),
        pytest.param(described(f'command = ["./run", "{"w" * 20_000}"]'), id="a command that is too long"),
        pytest.param(described(f"command = {'[' * 5_000}"), id="a description that is nested without end"),
        pytest.param(described("command = ['./run']")[:-30], id="a zip that is cut"),
        pytest.param(b"PK\x03\x04" + bytes(500), id="no zip at all"),
    ],
)
async def test_an_archive_that_cannot_be_unpacked_is_refused_and_others_run_on(plugins: Plugins, source: bytes) -> None:
    neighbour = await plugins.pool.provider(provider_code("async def symbols(self, e=''):\n    return; yield", "other"))
    report = await validate(Kind.PROVIDER, "x.zip", source)
    assert not report.passed
    with pytest.raises(errors.QuasarError):
        await plugins.pool.provider(code(source))
    assert [page async for page in neighbour.list_symbols()] == []


@pytest.mark.skipif(landlock.abi() < 1 or not seccomp.supported(), reason="the kernel lacks Landlock or seccomp")
async def test_a_program_that_does_not_serve_is_told_so_and_reaches_nothing(
    plugins: Plugins, open_folder: Path
) -> None:
    text = b'kind = "provider"\ncommand = ["sh", "loop.sh"]\n'
    escaped = open_folder / "escaped"
    source = packed({"plugin.toml": text, "loop.sh": f"echo outside > {escaped}; exec id\n".encode()})
    with pytest.raises(errors.PluginFailed, match="ended by itself with exit code 126"):
        await plugins.pool.provider(code(source))
    assert not escaped.exists()
