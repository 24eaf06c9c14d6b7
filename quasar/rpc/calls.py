"""What every call passes through, in one piece: each method is wrapped once, when its servicer is added.

In this order: request id and trace context, drain, bound on calls in flight, token, role, reading and validation of the
request, deadline, the method itself, the answer, the error table; then metrics, the span's end and one line in the log.

Wrapping the method instead of adding interceptors to the library costs nothing per call, and lets the server own
reading and writing, so that a malformed message and an oversized answer are errors like all others.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.message import DecodeError, Message

from quasar import errors, logs
from quasar.clock import Clock
from quasar.metrics import MethodMetrics, Metrics
from quasar.rpc import context, validation
from quasar.rpc import errors as error_table
from quasar.rpc.admission import Bound
from quasar.rpc.caller import ADMIN, VIEWER, Authenticator, Caller, bearer_of, require_role
from quasar.rpc.contract import OPEN, Method
from quasar.tracing import NoTracer, Span, Tracer

Rpc = grpc.aio.ServicerContext[Any, Any]
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NOT_OURS_TO_TELL: Final = (
    asyncio.CancelledError,
    GeneratorExit,
    KeyboardInterrupt,
    SystemExit,
    grpc.aio.AbortError,
)
_LEVEL: Final = {"INTERNAL": "error", "UNAVAILABLE": "warning", "RESOURCE_EXHAUSTED": "warning"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """Bounds on single calls."""

    default_deadline_s: float
    """Deadline of unary calls that come without one."""
    max_send_bytes: int
    """Largest message that is sent."""


class Call:
    """One call while it is served."""

    __slots__ = (
        "caller",
        "drained",
        "entered",
        "figures",
        "gone",
        "method",
        "request_id",
        "rpc",
        "span",
        "started",
        "task",
    )

    def __init__(self, method: Method, figures: MethodMetrics, rpc: Rpc, started: float) -> None:
        """Note what is known when the call arrives."""
        self.method = method
        self.figures = figures
        self.rpc = rpc
        self.started = started
        self.request_id = ""
        self.caller: Caller | None = None
        self.span: Span | None = None
        self.entered: Bound | None = None
        self.task: asyncio.Task[Any] | None = None
        self.drained = False
        self.gone = False


class Calls:
    """Wraps methods so that every rule of the platform holds for them."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        tracer: Tracer | None,
        unary: Bound,
        streams: Bound,
        probes: Bound,
        limits: CallLimits,
        draining: asyncio.Event,
    ) -> None:
        """Take what the rules need."""
        self._authenticator = authenticator
        self._clock = clock
        self._metrics = metrics
        self._tracer = tracer
        self._unary = unary
        self._streams = streams
        self._probes = probes
        self._limits = limits
        self._draining = draining
        self._streaming: set[Call] = set()

    def wrap(self, method: Method, behaviour: Callable[..., Any]) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a method whose servicer does `behaviour`."""
        serve = self._stream(method, behaviour) if method.server_streaming else self._answer(method, behaviour)
        handler: dict[tuple[bool, bool], Callable[..., grpc.RpcMethodHandler[Any, Any]]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        # A method may write to its stream by itself, so streams keep a serialiser; answers are bytes already.
        serialiser = _to_bytes if method.server_streaming else None
        return handler[method.client_streaming, method.server_streaming](serve, None, serialiser)

    def unknown(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of every method that the server does not know: it asks for a token before it says so."""

        async def refuse(_requests: object, _rpc: Rpc) -> AsyncIterator[bytes]:
            raise errors.Unimplemented("The server has no such method; list what it has by reflection.")
            yield b""  # makes this a generator

        # One name for all of them: a client must not be able to fill the metrics with names of its own.
        nothing: Callable[[bytes], Message] = _unreadable
        return self.wrap(Method("", "unknown", VIEWER, nothing, True, True, False, False), refuse)

    def end_streams(self) -> None:
        """End every stream that is still open with `Draining`; for the ones that did not end themselves."""
        for call in self._streaming:
            if call.task is not None:
                call.drained = True
                call.task.cancel()

    def _answer(self, method: Method, behaviour: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[bytes]]:
        figures = self._metrics.method(method.name, streaming=False)
        read = _reader(method)

        async def serve(raw: Any, rpc: Rpc) -> bytes:
            call = Call(method, figures, rpc, self._clock.monotonic())
            try:
                deadline_s = await self._begin(call, self._unary)
                request = read(raw)
                if deadline_s is None:
                    answer = await behaviour(request, rpc)
                else:
                    async with asyncio.timeout(deadline_s):
                        answer = await behaviour(request, rpc)
                written = self._write(answer)
            except BaseException as error:
                await self._fail(call, error)
            finally:
                if call.entered is not None:
                    call.entered.leave()
            self._ended(call, "OK")
            return written

        return serve

    def _stream(self, method: Method, behaviour: Callable[..., AsyncGenerator[Any]]) -> Callable[..., Awaitable[None]]:
        figures = self._metrics.method(method.name, streaming=True)
        read = _reader(method)

        async def serve(raw: Any, rpc: Rpc) -> None:
            call = Call(method, figures, rpc, self._clock.monotonic())
            try:
                await self._begin(call, self._streams)
                request = read(raw)
                call.task = asyncio.current_task()
                self._streaming.add(call)
                await rpc.send_initial_metadata(((context.REQUEST_ID_KEY, call.request_id),))
                async with aclosing(behaviour(request, rpc)) as messages:
                    async for message in messages:
                        await _send(call, self._write(message))
                        figures.message()
            except BaseException as error:
                await self._fail(call, error)
            finally:
                self._streaming.discard(call)
                if call.entered is not None:
                    call.entered.leave()
            self._ended(call, "OK")

        return serve

    async def _begin(self, call: Call, bound: Bound) -> float | None:
        """Do all that comes before the request is read.

        Returns:
            The deadline in seconds that the server has to keep itself; None when the client's holds, or none.
        """
        method, rpc = call.method, call.rpc
        sent: dict[str, Any] = dict(context.arrived_metadata() or rpc.invocation_metadata() or ())
        call.request_id = request_id = _request_id(sent.get(context.REQUEST_ID_KEY))
        trace = sent.get(context.TRACE_KEY)
        if trace is not None or self._tracer is not None:
            call.span = self._span(method, str(trace or ""))
        rpc.set_trailing_metadata(((context.REQUEST_ID_KEY, request_id),))
        if method.role == OPEN:
            bound = self._probes
        elif self._draining.is_set():
            raise errors.Draining(retry_after_s=1.0)
        bound.enter()
        call.entered = bound
        caller = None
        if method.role != OPEN:
            caller = call.caller = await self._authenticator.authenticate(bearer_of(sent.get("authorization")))
            if caller.role < method.role:
                require_role(caller, method.role)
        left_s = rpc.time_remaining()
        ours_s = None
        if left_s is None and not method.server_streaming:
            left_s = ours_s = self._limits.default_deadline_s
        deadline = None if left_s is None else call.started + left_s
        for_whom = sent.get(context.ON_BEHALF_KEY, "") if caller is not None and caller.role >= ADMIN else ""
        traceparent = "" if call.span is None else call.span.traceparent
        context.enter_call(context.CallContext(request_id, method.name, caller, deadline, for_whom, traceparent))
        return ours_s

    def _span(self, method: Method, traceparent: str) -> Span:
        return (self._tracer or NoTracer()).begin(method.name, traceparent)

    def _write(self, message: Any) -> bytes:
        written = _to_bytes(message)
        if len(written) > self._limits.max_send_bytes:
            size, limit = len(written), self._limits.max_send_bytes
            raise errors.MessageTooLarge(
                f"The answer must have at most {limit} bytes, was {size}; ask for less at once.",
                metadata={"limit": str(limit), "size": str(size)},
            )
        return written

    async def _fail(self, call: Call, error: BaseException) -> NoReturn:
        """End the call with the status of `error`, or let it go when there is nobody left to tell."""
        if isinstance(error, asyncio.CancelledError):
            error = self._why_cancelled(call, error)
        if call.gone or isinstance(error, _NOT_OURS_TO_TELL):
            self._ended(call, "CANCELLED")
            raise error
        told = error_table.explain(error)
        code = error_table.code_of(told)
        self._ended(call, code.name, told, error if isinstance(told, errors.Internal) else None)
        status = error_table.to_status(told, call.request_id)
        trailing = (
            (context.REQUEST_ID_KEY, call.request_id),
            (error_table.DETAILS_KEY, status.SerializeToString()),
        )
        await call.rpc.abort(code, error_table.sentence(told), trailing)

    def _why_cancelled(self, call: Call, error: asyncio.CancelledError) -> BaseException:
        """Tell a call that was cancelled from one in which something else was.

        Left alone, a stray cancellation would make the library send nothing, and the client wait to its deadline.
        """
        task = asyncio.current_task()
        if call.drained and task is not None:
            task.uncancel()
            return errors.Draining(retry_after_s=1.0)
        return error if task is not None and task.cancelling() else errors.Aborted(retry_after_s=0.1)

    def _ended(
        self, call: Call, code: str, told: errors.QuasarError | None = None, defect: BaseException | None = None
    ) -> None:
        now = self._clock.monotonic()
        seconds = now - call.started
        call.figures.ended(code, now, seconds)
        if call.span is not None:
            call.span.end(code)
        fields: dict[str, Any] = {"method": call.method.name, "code": code, "ms": round(seconds * 1e3, 3)}
        if call.caller is not None:
            fields["principal"] = call.caller.principal
        if told is not None:
            fields["reason"], fields["message"], fields["peer"] = told.reason, told.message, call.rpc.peer()
        if defect is not None:
            fields["exc_info"] = defect
        expected = call.method.quiet or isinstance(told, errors.Draining)
        level = ("debug" if call.method.quiet else "info") if expected and defect is None else _LEVEL.get(code, "info")
        logs.note(level, "call ended", __name__, call.request_id, fields)


def _request_id(given: object) -> str:
    """Return the id that the client gave when it can stand in logs and headers, else a new one."""
    if isinstance(given, str) and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(64):016x}"


def _reader(method: Method) -> Callable[[Any], Any]:
    """Return what makes a request, or the requests of a client stream, of bytes."""
    parse, check = method.parse, validation.check if method.has_rules else None

    def read(raw: bytes) -> Message:
        try:
            request = parse(raw)
        except DecodeError as error:
            raise errors.InvalidArgument(
                f"The request of {method.name} must be its message, was unreadable."
            ) from error
        if check is not None:
            check(request)
        return request

    async def read_each(raws: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for raw in raws:
            yield read(raw)

    return read_each if method.client_streaming else read


async def _send(call: Call, written: bytes) -> None:
    try:
        await call.rpc.write(written)
    except grpc.aio.InternalError:
        # One of the two ways in which the library says that the client left; the other one is a cancellation.
        call.gone = True
        raise


def _to_bytes(message: Any) -> bytes:
    """Return a message as it goes over the wire; a stream may hand over what it has serialised for all its readers."""
    return message if isinstance(message, bytes) else message.SerializeToString()


def _unreadable(_raw: bytes) -> Message:
    raise DecodeError
