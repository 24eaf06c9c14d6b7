"""One process of a plug-in: started in its jail, described, configured, watched, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import grpc

from quasar import errors
from quasar.clock import Clock
from quasar.convert.manifest import described as manifest_described
from quasar.convert.plugin_rows import MALFORMED
from quasar.plugins.code import CodeVersion
from quasar.plugins.containment import Cause, exit_words
from quasar.plugins.errands import Errands
from quasar.plugins.folders import PIPES, make_folder, remove
from quasar.plugins.handover import Condition, configure_request
from quasar.plugins.jail.posture import PostureItem
from quasar.plugins.jail.spec import Limits, Spec
from quasar.plugins.manifest import Manifest
from quasar.plugins.output import Output
from quasar.plugins.permit_service import PermitService
from quasar.plugins.permits import PermitDesk
from quasar.plugins.row_pipe import PipeFolder
from quasar.plugins.serving import handler
from quasar.plugins.settings import ProcessSettings
from quasar.plugins.spawn import spawn
from quasar.plugins.specification import specify
from quasar.plugins.usage import Usage, Watcher
from quasar.rpc.errors import from_rpc_error
from quasar.sdk.failures import Unauthorised
from quasar.sdk.recording import FILE as RECORDING
from quasar.sdk.redaction import Redaction
from quasar_proto.plugin.v1 import host_pb2, plugin_pb2

__all__ = ["PluginProcess", "ProcessSettings"]

T = TypeVar("T")
_MIB: Final = 1024 * 1024
_FOREVER_MS: Final = 2**31 - 1
_LOOK_S: Final = 1.0
_MOST_ASKING: Final = 2_000
_CONTRACT: Final = 1
"""The newest version of `quasar.plugin.v1` that is spoken here."""
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * _MIB),
    ("grpc.max_send_message_length", -1),
    ("grpc.client_idle_timeout_ms", _FOREVER_MS),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
)
_PLUGIN: Final = "/quasar.plugin.v1.Plugin/"


class PluginProcess:
    """One run of one version of the code; an async context manager around its whole life."""

    def __init__(
        self,
        code: CodeVersion,
        path: str,
        ports: tuple[int, ...],
        limits: Limits,
        desk: PermitDesk,
        settings: ProcessSettings,
        clock: Clock,
    ) -> None:
        """Prepare a process; entering the context starts it.

        Args:
            code: What it runs.
            path: Where the source lies; empty for built-in code.
            ports: TCP ports that it may connect to.
            limits: What it may use.
            desk: The permits that it is granted.
            settings: How processes are run.
            clock: Tells the time and waits.
        """
        self.code = code
        self.ports = ports
        self.limits = limits
        self.manifest: Manifest | None = None
        self.host_charges = False
        """The service takes the permits, since the code does not ask for them."""
        self.start_time_ns = 0
        self.state = "starting"
        """`starting`, `running`, `stopping` or `ended`."""
        self.cause: Cause | None = None
        self.detail = ""
        """How it ended; empty while it runs."""
        self.ended = asyncio.Event()
        self.ready_s = 0.0
        """How long it took to become ready."""
        self.condition = Condition()
        """How it is by its own account."""
        self._scratch = ""
        self._path = path
        self.desk = desk
        self._settings = settings
        self._clock = clock
        self._generation = 0
        self._secrets: Mapping[str, str] = dict(code.secrets)
        self._process: asyncio.subprocess.Process | None = None
        self._stack = AsyncExitStack()
        self._watcher: Watcher | None = None
        self._busy = True  # when it was last asked; it loads its code first
        self._stopping = False
        self.output = Output(code, Redaction(lambda: self._secrets.values()), clock)

    @property
    def pid(self) -> int:
        """The process id; 0 before the start."""
        return self._process.pid if self._process is not None else 0

    @property
    def posture(self) -> tuple[PostureItem, ...]:
        """What confines it."""
        return self.output.posture

    @property
    def usage(self) -> Usage:
        """What it used when it was last looked at."""
        return self._watcher.usage if self._watcher is not None else Usage()

    async def __aenter__(self) -> Self:
        """Start the process and wait until it is described and configured.

        Raises:
            CodeRejected: The code holds no class of its kind.
            PluginFailed: The code raised while it was loaded or configured.
            PluginUnavailable: It did not become ready in time.
        """
        try:
            async with asyncio.timeout(self._settings.start_s):
                await self._start()
        except TimeoutError:
            self._mark(Cause.NOT_READY, f"was not ready within {self._settings.start_s:g} s")
            await self._close()
            raise errors.PluginUnavailable(f"{self.code.name} {self.detail}") from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the process and clean up after it."""
        closing = asyncio.ensure_future(self._close())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing  # whoever cancels waits until the process is gone and its folder removed
            raise

    async def _start(self) -> None:
        began = self._clock.monotonic()
        self.start_time_ns = self._clock.time_ns()
        folder = self._folder()
        spec = specify(folder, self.code, self._path, self.ports, self.limits, self._settings)
        self._scratch = spec.scratch
        await self._serve_host(spec.host_socket)
        await self._spawn(spec)
        self.channel = grpc.aio.insecure_channel(f"unix:{spec.socket}", options=_OPTIONS)
        self._stack.push_async_callback(self.channel.close)
        group = await self._stack.enter_async_context(Errands())
        group.add(self._wait())
        group.add(self.output.pump(self._process))
        self._watcher = Watcher(self.pid, self.limits, Path(spec.scratch), self._clock)
        group.add(self._watch_use(self._watcher))
        described = group.add(self._describe())
        await asyncio.wait([described, group.add(self.ended.wait())], return_when=asyncio.FIRST_COMPLETED)
        if not described.done():
            raise errors.PluginFailed(f"{self.code.name} {self.detail} before it was ready{self.output.last_words()}")
        self._take(described.result())
        await self.configure(self.code.secrets, self.code.preferences)
        self.ready_s = self._clock.monotonic() - began
        self.state = "running"
        group.add(self.output.follow(self.channel))
        group.add(self._watch_health())

    def _folder(self) -> Path:
        folder = make_folder(self._settings.runtime)
        self._stack.push_async_callback(asyncio.to_thread, remove, folder)
        self.pipes = self._stack.enter_context(PipeFolder(folder / PIPES))
        if self._settings.record is not None:
            self._stack.callback(self._settings.record, folder / "scratch" / RECORDING)
        return folder

    async def _serve_host(self, socket: str) -> None:
        options = (("grpc.max_connection_idle_ms", _FOREVER_MS),)
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MOST_ASKING)
        servicer = PermitService(self.desk, self._clock)
        descriptor = host_pb2.DESCRIPTOR.services_by_name["PluginHost"]
        server.add_generic_rpc_handlers((handler(descriptor, servicer, str),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._stack.push_async_callback(server.stop, 0)

    async def _spawn(self, spec: Spec) -> None:
        self._process, self.output.reading = await spawn(spec)
        self._stack.callback(self._kill)

    async def _describe(self) -> Any:
        return await self._call("Describe", plugin_pb2.DescribeRequest(contract_version=_CONTRACT), wait=True)

    def _take(self, described: plugin_pb2.DescribeResponse) -> None:
        with self.reading("a description of itself"):
            self.manifest = manifest_described(described)
        if self.manifest.kind is not self.code.kind:
            kinds = f"{self.code.kind.value}, was {self.manifest.kind.value}"
            raise errors.CodeRejected(f"{self.code.name} must describe itself as {kinds}")
        if described.contract_version > _CONTRACT:
            spoken = f"version {described.contract_version} of the plug-in contract"
            raise errors.CodeRejected(f"{self.code.name} must speak version {_CONTRACT} at most, speaks {spoken}")
        self.host_charges = described.permit_mode != plugin_pb2.PERMIT_MODE_PLUGIN_ACQUIRES
        self.desk.declare(self.manifest.rate_limits, self.manifest.concurrency)

    async def configure(self, secrets: Mapping[str, str], preferences: Mapping[str, Any]) -> bool:
        """Hand over settings; tell whether some of them need a new process.

        Raises:
            InvalidArgument: A setting was refused; the former ones are in force.
            PluginFailed: The code raised.
        """
        request = configure_request(self.code, self._settings, self.limits, self._scratch, secrets, preferences)
        request.host.time.FromNanoseconds(self._clock.time_ns())
        request.generation = self._generation + 1
        former, self._secrets = self._secrets, {**self._secrets, **secrets}  # both are hidden while it is not known
        try:
            answer = await self._call("Configure", request)
        except BaseException:
            self._secrets = former
            raise
        self._secrets = dict(secrets)
        self._generation += 1
        if answer.message:
            self.output.say(answer.message)
        return bool(answer.needs_restart)

    async def health(self) -> plugin_pb2.HealthResponse:
        """Ask how the plug-in is.

        Raises:
            DeadlineExceeded: It does not answer.
        """
        answer: plugin_pb2.HealthResponse = await self._call(
            "Health", plugin_pb2.HealthRequest(), timeout_s=self._settings.hang_s
        )
        return answer

    async def stop(self, reason: str = "") -> None:
        """Ask the process to end, and kill it when it has not in time."""
        if self._process is None or self.ended.is_set():
            return
        self._stopping = True
        self.state = "stopping"
        request = plugin_pb2.ShutdownRequest(reason=reason[:500])
        request.grace.FromNanoseconds(int(self._settings.grace_s * 1e9))
        with contextlib.suppress(errors.QuasarError, TimeoutError):
            await self._call("Shutdown", request, timeout_s=1.0)
            async with asyncio.timeout(self._settings.grace_s + 1.0):
                await self.ended.wait()
                return
        self._kill()

    def contain(self, cause: Cause, detail: str) -> None:
        """Kill the process for what it did."""
        self._mark(cause, detail)
        self._kill()

    def _mark(self, cause: Cause, detail: str) -> None:
        if self.cause is None and not self._stopping:
            self.cause, self.detail = cause, detail

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _wait(self) -> None:
        assert self._process is not None
        self._end(await self._process.wait())

    def _end(self, code: int) -> None:
        """Tell once that the process has ended."""
        if self.ended.is_set():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # what it may have left behind where forks are possible
        self._mark(Cause.CRASHED if code else Cause.EXITED, exit_words(code))
        self.detail = self.detail or exit_words(code)
        self.state = "ended"
        self.desk.release_all()
        self.ended.set()

    async def _watch_use(self, watcher: Watcher) -> None:
        """Look at what it uses, from its first moment on and whatever it answers."""
        while True:
            await self._clock.sleep(min(_LOOK_S, self._settings.health_s))
            if (found := await watcher.look(busy=self._busy)) is not None:
                self.contain(*found)
                return

    async def _watch_health(self) -> None:
        failing_since: float | None = None
        while True:
            await self._clock.sleep(min(_LOOK_S, self._settings.health_s))
            try:
                answer = await self.health()
                self._busy, failing_since = answer.in_flight > 0, None
                self.condition = Condition.told(answer)
            except errors.DeadlineExceeded:
                self.contain(Cause.HUNG, f"did not answer for {self._settings.hang_s:g} s and was killed")
                return
            except errors.QuasarError as error:  # it ends, and `_wait` says how; or it answers with nothing else
                now = self._clock.monotonic()
                failing_since = now if failing_since is None else failing_since
                if now - failing_since >= self._settings.hang_s:
                    why = f"did not say how it is for {self._settings.hang_s:g} s ({error.message}) and was killed"
                    self.contain(Cause.HUNG, why)
                    return

    async def _call(self, method: str, request: Any, *, timeout_s: float | None = None, wait: bool = False) -> Any:
        response = getattr(plugin_pb2, f"{method}Response")
        call: Any = self.channel.unary_unary(f"{_PLUGIN}{method}", type(request).SerializeToString, response.FromString)
        return await self.answer(call(request, timeout=timeout_s, wait_for_ready=wait))

    async def messages(self, call: Any) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call; closing the generator ends the call.

        Raises:
            QuasarError: It failed; `PluginUnavailable` when the process ended.
        """
        try:
            while (message := await self.answer(call.read())) is not grpc.aio.EOF:
                yield message
        finally:
            call.cancel()

    async def answer(self, call: Awaitable[T]) -> T:
        """Wait for a call to the process, or for one message of it.

        Raises:
            QuasarError: It failed; `PluginUnavailable` when the process ended.
        """
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            raise self._failure(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The library says so when the connection is closed under a call.
            raise self._gone() from None
        if answer is None:  # what the library makes of bytes that are no message
            raise errors.PluginFailed(f"{self.code.name} sent an answer that is no message of the contract")
        return answer

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Read what the process has sent, in the block.

        Raises:
            PluginFailed: It breaks the contract.
        """
        try:
            yield
        except MALFORMED as error:
            raise errors.PluginFailed(f"{self.code.name} sent {what} against the contract: {error}") from None

    def _gone(self) -> errors.PluginUnavailable:
        ending = f": it {self.detail}" if self.detail else ""
        return errors.PluginUnavailable(f"{self.code.name} does not run{ending}", retry_after_s=1.0)

    def _failure(self, error: grpc.aio.AioRpcError) -> errors.QuasarError:
        known = from_rpc_error(error)
        if isinstance(known, errors.ServiceUnavailable):
            return self._gone()
        return Unauthorised(known.message) if known.metadata.get("refused") == "true" else known

    async def _close(self) -> None:
        if self._process is not None:
            if self._process.returncode is None:
                await self.stop("service stops")
            self._kill()
            self._end(await self._process.wait())  # `_wait` may be cancelled before it learns of the end
        await self._stack.aclose()
