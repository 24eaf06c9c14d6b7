"""Validation finds everything that is wrong, says where and what helps, and runs nothing outside of the jail."""

from __future__ import annotations

import io
import textwrap
import zipfile

import pytest
from aiohttp import web

from quasar import errors
from quasar.convert.plugin_report import report_from_proto, report_to_proto
from quasar.plugins.manifest import Kind
from quasar.plugins.report import Report, Severity, Stage
from quasar.plugins.validation import need, validate

GOOD = '''
from quasar.provider import Bar, Provider


class Good(Provider):
    """A good one."""

    name = "good"
    intervals = ("1d",)

    async def bars(self, request):
        yield Bar(request.start_ns, 1.0, 1.0, 1.0, 1.0)
'''


async def check(source: str, kind: Kind = Kind.PROVIDER, **terms: object) -> Report:
    return await validate(kind, "mine.py", textwrap.dedent(source).encode(), **terms)  # type: ignore[arg-type]


def rules(report: Report) -> set[str]:
    return {one.rule for one in report.findings if one.severity is Severity.ERROR}


async def test_good_code_passes_with_its_manifest() -> None:
    report = await check(GOOD)
    assert (report.passed, report.stage, report.findings) == (True, Stage.TRIAL, ())
    assert report.manifest is not None
    assert (report.manifest.name, report.manifest.capabilities) == ("good", ("HISTORICAL",))
    assert report.peak_memory_bytes > 0
    assert report_from_proto(report_to_proto(report)).manifest == report.manifest


async def test_every_finding_is_told_with_place_and_remedy_and_not_the_first_only() -> None:
    report = await check(
        '''
        import requests
        from quasar.provider import Provider
        DATA = requests.get("https://x.example.com").json()

        class One(Provider):
            name = "1 bad"
            def bars(self, request):
                yield 1
            async def live(self, feed):
                return self.secret("token")

        class Two(Provider):
            """Another."""
        '''
    )
    assert report.stage is Stage.STATIC
    assert rules(report) == {
        "import-side-effect",
        "bad-name",
        "wrong-method-form",
        "undeclared-secret",
        "two-provider-classes",
    }
    assert all(one.remedy and one.line for one in report.findings if one.severity is Severity.ERROR)
    effect = next(one for one in report.findings if one.rule == "import-side-effect")
    assert (effect.line, effect.column, effect.excerpt[:6]) == (4, 8, "DATA =")
    with pytest.raises(errors.CodeRejected) as raised:
        need(report)
    assert len(raised.value.violations) == 6


async def test_code_that_is_no_python_is_told_with_its_line() -> None:
    report = await check("class Mine(:\n")
    [finding] = report.findings
    assert (finding.rule, finding.line, report.passed) == ("syntax-error", 1, False)


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        ("X = bytearray(10 << 30)", "trial-memory"),
        ("for _ in iter(int, 1): pass", "trial-timeout"),
        ("import os; getattr(os, '_exit')(3)", "load-failed"),
        ("X = [][1]", "load-failed"),
    ],
)
async def test_what_only_running_shows_is_found_in_the_jail(body: str, rule: str) -> None:
    report = await check(f"{body}\n{GOOD}", time_s=2.5)
    assert rules(report) == {rule}
    assert report.stage is Stage.LOAD


async def test_a_declaration_that_breaks_a_rule_is_named() -> None:
    report = await check(GOOD.replace('("1d",)', '("7parsecs",)'))
    [finding] = report.findings
    assert finding.rule == "bad-declaration"
    assert "intervals must be an interval such as 1min" in finding.message


async def test_a_strategy_is_tried_on_made_up_bars() -> None:
    source = '''
        from quasar.strategy import Strategy

        class Mine(Strategy):
            """One that fails."""

            def on_bar(self, bar):
                return {}["x"]
    '''
    report = await check(source, Kind.STRATEGY)
    [finding] = report.findings
    assert (finding.rule, finding.line) == ("trial-raised", 8)
    assert "KeyError" in finding.message
    assert (await check(source.replace('{}["x"]', "None"), Kind.STRATEGY)).passed


async def test_a_zip_of_a_package_passes_and_one_that_climbs_out_is_refused() -> None:
    def zipped(files: dict[str, str]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return buffer.getvalue()

    package = {
        "vendor/__init__.py": "",
        "vendor/feed.py": f"from vendor.names import NAME\n{GOOD}",
        "vendor/names.py": "NAME = 'x'\n",
    }
    report = await validate(Kind.PROVIDER, "vendor.zip", zipped(package))
    assert report.passed, report.findings
    assert report.manifest is not None
    assert report.manifest.module_path == "vendor/feed.py"
    climbing = await validate(Kind.PROVIDER, "vendor.zip", zipped({"../evil.py": GOOD}))
    assert rules(climbing) == {"unsafe-path"}


async def test_nothing_runs_when_only_reading_is_wanted() -> None:
    report = await check(f"X = [][1]\n{GOOD}", static_only=True)
    assert (report.passed, report.stage) == (True, Stage.STATIC)


async def test_a_secret_that_the_code_prints_is_not_in_the_report() -> None:
    source = GOOD.replace(
        "    async def bars",
        "    secrets = ('token',)\n\n    def __init__(self, *given):\n        super().__init__(*given)\n"
        "        print('it is', self.secret('token'))\n        raise ValueError(self.secret('token'))\n\n"
        "    async def bars",
    )
    report = await check(source, secrets={"token": "hunter2-hunter2"})
    assert not report.passed
    assert "hunter2" not in str(report)


ASKS = """
from quasar.provider import Bar, Constituent, Provider, RejectedRow, SymbolNotice, SymbolState


class Asks(Provider):
    \"\"\"Asks a vendor for everything.\"\"\"

    name = "asks"
    intervals = ("1min",)
    hosts = ("127.0.0.1:{port}",)
    secrets = ("token",)

    async def symbols(self, exchange=""):
        for name in await self.http.json("http://127.0.0.1:{port}/symbols", {{"token": self.secret("token")}}):
            yield self.instrument(name) if name else RejectedRow("a row without a name", {{}})

    async def bars(self, request):
        yield Bar(request.start_ns, 1.0, 1.0, 1.0, float("nan"))
        yield Bar(request.end_ns, 1.0, 1.0, 1.0, 1.0)

    async def constituents(self, index, as_of):
        return [][0]

    async def live(self, feed):
        yield SymbolNotice("A", SymbolState.REFUSED, "not in your plan")
        await feed.changed()
"""


async def test_with_a_network_the_vendor_is_asked_for_a_little_of_everything() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.query["token"])
        return web.json_response(["A", ""])

    app = web.Application()
    app.router.add_get("/symbols", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        source = ASKS.format(port=runner.addresses[0][1])
        offline = await check(source, secrets={"token": "t0k3n-value"})
        online = await check(source, network=True, secrets={"token": "t0k3n-value"})
    finally:
        await runner.cleanup()
    assert (offline.passed, offline.findings, asked) == (True, (), ["t0k3n-value"])
    found = {one.rule: one for one in online.findings}
    assert set(found) == {
        "trial-rejected-rows",
        "bar-not-finite",
        "bar-outside-request",
        "trial-raised",
        "trial-vendor-failed",
    }
    assert "a row without a name" in found["trial-rejected-rows"].message
    assert found["trial-vendor-failed"].message == "live: A was refused: not in your plan"
    raised = found["trial-raised"]
    assert (raised.severity, raised.excerpt, online.passed) == (Severity.ERROR, "return [][0]", False)
