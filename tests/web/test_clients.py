"""grpc-web clients that are not the page: connect-web in Node, and the gRPC project's own runtime in the browser."""

from __future__ import annotations

import pytest

from tests.web.conftest import Page

pytestmark = pytest.mark.xdist_group("web")

NOT_FOUND = 5
DEADLINE_EXCEEDED = 4


async def test_other_clients_get_answers_streams_errors_and_deadlines(page: Page) -> None:
    found = await page.drive("clients.mjs")
    connect = found["node"]
    assert connect["principal"] == "admin"
    assert connect["ticks"] > 2
    assert connect["unknown"][:2] == ["NotFound", "NOT_FOUND"]
    assert "NOPE" in connect["unknown"][2]
    assert connect["invalid"] == ["InvalidArgument", "series"]
    assert connect["late"] == "DeadlineExceeded"
    assert connect["aborted"] == "Canceled"
    assert found["text"]["ticks"] > 2
    for form in ("text", "binary"):
        official = found[form]
        assert official["principal"] == "admin"
        assert official["unknown"][0] == NOT_FOUND
        assert "NOPE" in official["unknown"][1]
        assert official["late"] == DEADLINE_EXCEEDED
