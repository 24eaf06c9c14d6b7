from __future__ import annotations

import asyncio
import base64
import struct
from urllib.parse import unquote

import pytest
from google.rpc import error_details_pb2, status_pb2

from grpc_gateway import framing
from quasar_proto.ops.v1 import event_service_pb2
from quasar_proto.ops.v1 import system_service_pb2 as system
from tests.integration.gateway.conftest import Stage

BINARY = {"Content-Type": "application/grpc-web+proto"}
CALLER = "/quasar.ops.v1.SystemService/GetCaller"
WATCH = "/datahub/quasar.ops.v1.EventService/WatchEvents"


def frames(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    messages, trailers = [], {}
    while body:
        flag, length = struct.unpack_from(">BI", body)
        part, body = body[5 : 5 + length], body[5 + length :]
        if flag & framing.TRAILERS_FLAG:
            trailers = dict(line.split(":", 1) for line in part.decode().strip().split("\r\n"))
        else:
            messages.append(part)
    return messages, trailers


async def post(stage: Stage, path: str, message: bytes, **headers: str) -> tuple[list[bytes], dict[str, str]]:
    async with stage.http.post(
        stage.url + path, data=framing.data_frame(message), headers={**BINARY, **headers}
    ) as answer:
        assert answer.status == 200
        return frames(await answer.read())


async def test_a_unary_call_brings_its_answer_and_an_ok_status(stage: Stage) -> None:
    data = framing.data_frame(b"")
    sent = {**BINARY, "Authorization": "Bearer t", "Cookie": "c=1", "grpc-timeout": "5S"}
    async with stage.http.post(stage.url + CALLER, data=data, headers=sent) as answer:
        messages, trailers = frames(await answer.read())
        assert answer.headers["x-request-id"] == "r-1"
    assert system.GetCallerResponse.FromString(messages[0]).principal == "ann"
    assert trailers["grpc-status"] == "0"
    seen = dict(stage.service.seen)
    assert seen["authorization"] == "Bearer t"
    assert "cookie" not in seen
    assert stage.service.deadlines[0] is not None
    assert 0 < stage.service.deadlines[0] <= 5


async def test_the_text_form_carries_the_same(stage: Stage) -> None:
    data = base64.b64encode(framing.data_frame(b""))
    sent = {"Content-Type": "application/grpc-web-text"}
    async with stage.http.post(stage.url + CALLER, data=data, headers=sent) as answer:
        messages, trailers = frames(framing.decode_text(await answer.read()))
    assert system.GetCallerResponse.FromString(messages[0]).principal == "ann"
    assert trailers["grpc-status"] == "0"


async def test_a_stream_arrives_in_order_and_ends_with_its_status(stage: Stage) -> None:
    request = event_service_pb2.WatchEventsRequest(filter="1000").SerializeToString()
    messages, trailers = await post(stage, WATCH, request)
    cursors = [event_service_pb2.WatchEventsResponse.FromString(m).cursor for m in messages]
    assert cursors == [str(n) for n in range(1000)]
    assert trailers["grpc-status"] == "0"


async def test_an_error_keeps_its_code_its_unicode_message_and_its_details(stage: Stage) -> None:
    request = system.RevokeTokenRequest(token="µ").SerializeToString()
    _, trailers = await post(stage, "/quasar.ops.v1.SystemService/RevokeToken", request)
    assert trailers["grpc-status"] == "5"
    assert unquote(trailers["grpc-message"]) == "no token “µ”"
    raw = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4)))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "NOT_FOUND"


async def test_a_service_that_is_down_is_named_and_its_address_is_not(stage: Stage) -> None:
    _, trailers = await post(stage, "/quasar.strategy.v1.PolicyService/ListPolicies", b"")
    assert trailers["grpc-status"] == "14"
    message = unquote(trailers["grpc-message"])
    assert message == "The strategy service does not answer; try again in a moment."
    assert "127.0.0.1" not in str(trailers)


async def test_the_service_learns_at_once_that_the_browser_left(stage: Stage) -> None:
    request = event_service_pb2.WatchEventsRequest(filter="1", cursor="stay").SerializeToString()
    answer = await stage.http.post(stage.url + WATCH, data=framing.data_frame(request), headers=BINARY)
    await answer.content.readexactly(5)
    answer.close()
    async with asyncio.timeout(60):
        await stage.service.left.wait()


async def test_one_client_cannot_hold_every_stream(stage: Stage) -> None:
    request = event_service_pb2.WatchEventsRequest(filter="1", cursor="stay").SerializeToString()
    open_answers = [
        await stage.http.post(stage.url + WATCH, data=framing.data_frame(request), headers=BINARY) for _ in range(4)
    ]
    _, trailers = await post(stage, WATCH, request)
    assert trailers["grpc-status"] == "8"
    assert "close some streams first" in unquote(trailers["grpc-message"])
    for answer in open_answers:
        answer.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "at least 5 bytes"), (b"\0\0\0\0\xffxx", "announces 255 bytes"), (b"\x01\0\0\0\0", "must be uncompressed")],
)
async def test_a_malformed_frame_is_told_what_is_wrong(stage: Stage, body: bytes, said: str) -> None:
    async with stage.http.post(stage.url + CALLER, data=body, headers=BINARY) as answer:
        _, trailers = frames(await answer.read())
    assert trailers["grpc-status"] == "3"
    assert said in unquote(trailers["grpc-message"])


async def test_a_request_that_is_too_large_is_refused_clearly(stage: Stage) -> None:
    _, trailers = await post(stage, CALLER, b"x" * 100_000)
    assert trailers["grpc-status"] == "3"
    assert "larger than the gateway takes" in unquote(trailers["grpc-message"])


async def test_what_is_not_grpc_web_is_not_taken(stage: Stage) -> None:
    async with stage.http.post(stage.url + CALLER, json={}) as answer:
        assert answer.status == 415
    _, trailers = await post(stage, "/quasar.plugin.v1.ProviderPlugin/FetchBars", b"")
    assert trailers["grpc-status"] == "12"


async def test_a_preflight_is_answered_for_allowed_origins_only(stage: Stage) -> None:
    async with stage.http.options(stage.url + CALLER, headers={"Origin": "http://localhost:5173"}) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Methods"] == "POST"
    async with stage.http.options(stage.url + CALLER, headers={"Origin": "http://evil.example"}) as answer:
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_health_names_each_service(stage: Stage) -> None:
    async with stage.http.get(stage.url + "/healthz") as answer:
        assert answer.status == 503
        assert (await answer.json())["services"]["strategy"] == "UNREACHABLE"
    async with stage.http.get(stage.url + "/livez") as answer:
        assert answer.status == 200


async def test_the_page_is_served_for_every_place_inside_it(stage: Stage) -> None:
    # The last two are names that no file can have.
    for path in ("/", "/markets/BTC%2FUSD?i=1min", "/runs", "/%00", f"/{'a' * 300}"):
        async with stage.http.get(stage.url + path) as answer:
            assert await answer.text() == "<title>Quasar</title>"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    async with stage.http.get(stage.url + "/assets/app.js") as answer:
        assert "immutable" in answer.headers["Cache-Control"]
    async with stage.http.get(stage.url + "/assets/none.js") as answer:
        assert answer.status == 404


async def test_files_outside_the_frontend_stay_outside(stage: Stage) -> None:
    async with stage.http.get(stage.url + "/..%2fsecret") as answer:
        assert "outside" not in await answer.text()
