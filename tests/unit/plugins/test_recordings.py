"""Recordings: nothing secret in them, everything else as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from quasar import errors
from quasar.sdk.recording import Recorder, Scrubber, body_of, connections, read_recording
from quasar.sdk.wire import Detour, Exchange, with_query

SECRET = 'p"a/ss+1'


def recorded(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_secret_is_hidden_in_every_form_that_it_is_written_in(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r", lambda: [SECRET], lambda: 0.0)
    recorder.exchanged(
        Exchange(
            method="POST",
            url=f"https://user:{SECRET}@api.example.com/x?a=1&apikey=other&q=p%22a%2Fss%2B1",
            body=json.dumps({"login": SECRET}),
            status=200,
            headers={"content-type": "text/plain", "set-cookie": "id=1", "x-auth-token": "t"},
            answer=f"you are {SECRET}".encode(),
        )
    )
    recorder.sent(recorder.opened("wss://x/"), SECRET.encode() + b"\xff")
    recorder.close()
    text = (tmp_path / "r").read_text()
    assert "ss+1" not in text
    assert "ss%2B1" not in text
    assert recorded(tmp_path / "r")[0]["headers"] == {"content-type": "text/plain"}
    assert recorded(tmp_path / "r")[0]["url"] == "https://api.example.com/x?a=1&apikey=%2A%2A%2A&q=%2A%2A%2A"
    assert body_of(recorded(tmp_path / "r")[2], "text") == b"***\xff"


def test_a_token_that_the_vendor_hands_out_is_hidden_and_a_symbol_called_token_is_not() -> None:
    scrub = Scrubber(tuple)
    assert scrub.text('{"access_token": "0123456789abcdef"}') == '{"access_token": "***"}'
    assert scrub.text('{"token": "BTC", "price": 1}') == '{"token": "BTC", "price": 1}'


def test_connections_are_told_apart_also_when_a_number_comes_again() -> None:
    lines = [{"kind": kind, "connection": 1} for kind in ("open", "received", "open", "sent", "closed")]
    assert [[line["kind"] for line in one] for one in connections(lines)] == [
        ["open", "received"],
        ["open", "sent", "closed"],
    ]


def test_what_is_no_recording_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"format": "quasar-recording", "version": 1, "time_ns": 1}\nnonsense\n')
    with pytest.raises(errors.InvalidArgument, match=r"r.jsonl must be a recording .* line 2 is not"):
        read_recording(path)


def test_a_detour_leads_to_the_player_and_needs_no_secrets() -> None:
    detour = Detour(8700)
    assert detour.route("wss://feed.example.com/v2?x=1") == "ws://127.0.0.1:8700/wss/feed.example.com/v2?x=1"
    assert detour.route("https://a.example.com:8443") == "http://127.0.0.1:8700/https/a.example.com:8443/"
    assert (detour.secret("k", None), detour.secret("k", "v")) == ("***", "v")
    assert with_query("https://x/y?a=1", {"b": 2, "c": None}) == "https://x/y?a=1&b=2"
