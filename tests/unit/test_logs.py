"""What a process logs, and how."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
import structlog

from quasar import logs
from quasar.log_ring import LogRing
from quasar.testing.clock import FakeClock


class Written:
    """A configured log and what it wrote."""

    def __init__(self, **options: Any) -> None:
        self.stream = io.StringIO()
        chosen = logs.LogOptions(service="registry", **{"format": "json", **options})
        self.ring: LogRing = logs.configure(chosen, clock=FakeClock(), stream=self.stream)

    @property
    def text(self) -> str:
        """Everything written."""
        logs.flush()
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Everything written, as JSON."""
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Give back the configuration that the other tests have."""
    root = logging.getLogger()
    handlers, level, pipeline = root.handlers[:], root.level, logs._State.pipeline
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logs._State.pipeline = pipeline
    structlog.reset_defaults()


def test_a_line_has_time_level_service_logger_event_and_its_fields() -> None:
    written = Written()

    logs.get("datahub.collection").info("collected", provider="kraken", bars=500)

    assert written.lines == [
        {
            "time": "2026-01-05T00:00:00.000000Z",
            "level": "info",
            "service": "registry",
            "logger": "datahub.collection",
            "event": "collected",
            "provider": "kraken",
            "bars": 500,
        }
    ]


def test_a_log_made_before_the_configuration_follows_it() -> None:
    early = logs.get("early")
    written = Written()

    early.info("started")

    assert written.lines[0]["logger"] == "early"


def test_lines_below_the_level_are_not_written() -> None:
    written = Written(level="warning")

    logs.get("x").info("quiet")
    logs.note("info", "quiet", "x", "", {})
    logging.getLogger("x").info("quiet")
    logs.get("x").warning("loud")

    assert [line["event"] for line in written.lines] == ["loud"]


def test_secrets_are_neither_written_nor_kept() -> None:
    written = Written()
    log = logs.get("x").bind(client_secret="hunter2")

    log.info("called Bearer hunter2hunter2", api_token="hunter2", options={"password": "hunter2"})
    try:
        raise ValueError("password=hunter2")
    except ValueError as error:
        log.error("failed", exc_info=error)
    logging.getLogger("vendor").warning("GET https://vendor.example/?apikey=hunter2")

    assert len(written.lines) == 3
    assert "hunter2" not in written.text
    assert "hunter2" not in repr(written.ring.tail(10))


def test_an_error_carries_its_traceback() -> None:
    written = Written()
    try:
        raise KeyError("series")
    except KeyError as error:
        logs.get("x").error("failed", exc_info=error)
        logs.get("x").error("failed again", exc_info=True)
        logging.getLogger("vendor").exception("failed too")
        logs.note("error", "failed as well", "x", "abc-1", {"exc_info": error})

    assert all("KeyError: 'series'" in line["exception"] for line in written.lines)
    assert len(written.lines) == 4


def test_lines_of_the_standard_library_take_the_same_way() -> None:
    written = Written()

    logging.getLogger("asyncpg.pool").warning("took %d ms", 70)

    assert written.lines[0] | {"time": ""} == {
        "time": "",
        "level": "warning",
        "service": "registry",
        "logger": "asyncpg.pool",
        "event": "took 70 ms",
    }
    assert written.ring.last_sequence == 1


def test_a_line_tells_the_request_it_belongs_to(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Written()
    monkeypatch.setattr(logs._State, "request_id", staticmethod(lambda: "abc-1"))

    logs.get("x").info("stored")

    assert written.lines[0]["request_id"] == "abc-1"
    assert written.ring.tail(1)[0].request_id == "abc-1"


def test_a_field_cannot_pass_for_what_the_log_itself_says() -> None:
    written = Written()

    logs.get("x").info("stored", level="critical", service="bank", time="never")

    assert (written.lines[0]["level"], written.lines[0]["service"]) == ("info", "registry")


async def test_on_an_event_loop_ordinary_lines_are_written_together_and_grave_ones_at_once() -> None:
    written = Written()
    log = logs.get("x")

    log.info("first")
    log.info("second")
    assert written.stream.getvalue() == ""
    log.error("third")
    assert [json.loads(line)["event"] for line in written.stream.getvalue().splitlines()] == [
        "first",
        "second",
        "third",
    ]

    async with aclosing(written.ring.watch(written.ring.last_sequence)) as batches, asyncio.timeout(60):
        log.info("fourth")
        assert [record.event for record in (await anext(batches)).records] == ["fourth"]


async def test_many_lines_do_not_wait_for_each_other() -> None:
    written = Written()

    for i in range(70):
        logs.get("x").info("line", number=i)

    assert len(written.stream.getvalue().splitlines()) == 64


async def test_a_line_says_what_was_true_when_it_was_logged() -> None:
    written = Written()
    symbols = ["BTC"]

    logs.get("x").info("subscribed", symbols=symbols)
    symbols.append("ETH")

    assert written.lines[0]["symbols"] == ["BTC"]


def test_lines_of_threads_are_all_there() -> None:
    written = Written()
    log = logs.get("x")

    def many() -> None:
        for _ in range(100):
            log.info("line")

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(written.lines) == 400
    assert [record.sequence for record in written.ring.after(0).records] == list(range(1, 401))


def test_the_console_format_is_for_people() -> None:
    written = Written(format="console")

    logs.get("registry.uploads").info("stored", name="kraken")

    assert "[info     ] stored" in written.text
    assert "[registry.uploads] name=kraken" in written.text
    assert "\x1b[" not in written.text  # colours are for terminals


class FullDisk(io.StringIO):
    """A stream that takes nothing."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_log_that_cannot_be_written_does_not_fail_the_work() -> None:
    ring = logs.configure(logs.LogOptions(service="registry"), stream=FullDisk())

    logs.get("tests").error("went wrong")

    assert [line.event for line in ring.tail(5)] == ["went wrong"]
