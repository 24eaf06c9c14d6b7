"""The library ccxt as the provider uses it: one exchange loaded instead of all, paced calls, our errors.

`import ccxt` loads more than a hundred exchanges: five seconds and 70 MiB that nobody uses. `load` puts packages in
their place that load a member when it is asked for; one exchange then takes half a second.
"""

from __future__ import annotations

import importlib
import importlib.util
import ssl
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import aiohttp

from quasar import errors
from quasar.sdk.attempts import Attempts, Failure
from quasar.sdk.failures import Throttled, Unauthorised, UnknownSymbol, Unsupported
from quasar.sdk.http import retry_after_s

_PACKAGES: Final = ("ccxt", "ccxt.async_support", "ccxt.pro")
_IN_ERROR: Final = 300


class _OnDemand(ModuleType):
    """A package of ccxt that loads what it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__ == "ccxt" and name == "Exchange":
            return importlib.import_module("ccxt.base.exchange").Exchange
        try:
            module = importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"{self.__name__} has no {name}") from error
        return getattr(module, name, module)


def load(exchange: str) -> type[Any]:
    """Return the class of an exchange, the one with the WebSocket side where ccxt has that.

    Raises:
        FailedPrecondition: The library is not installed.
        InvalidArgument: ccxt knows no such exchange.
    """
    _prepare()
    for package in ("ccxt.pro", "ccxt.async_support"):
        if exchange.isidentifier() and importlib.util.find_spec(f"{package}.{exchange}") is not None:
            found = getattr(importlib.import_module(f"{package}.{exchange}"), exchange, None)
            if isinstance(found, type):
                return found
    raise errors.InvalidArgument(
        f"preference exchange must be an id of ccxt such as kraken or binance, was {exchange!r}"
    )


def _prepare() -> None:
    if "ccxt" in sys.modules:
        return
    found = importlib.util.find_spec("ccxt")
    if found is None or not found.submodule_search_locations:
        raise errors.FailedPrecondition(
            "the provider ccxt needs the library of that name: install quasar-platform[ccxt]; it was absent"
        )
    root = found.submodule_search_locations[0]
    for name in _PACKAGES:
        package = _OnDemand(name)
        package.__path__ = [root + name.removeprefix("ccxt").replace(".", "/")]
        package.__spec__ = importlib.util.spec_from_loader(name, loader=None, is_package=True)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    failures = importlib.import_module("ccxt.base.errors")
    vars(sys.modules["ccxt"]).update({name: value for name, value in vars(failures).items() if isinstance(value, type)})


def paced(kind: type[Any], attempts: Attempts) -> type[Any]:
    """Return an exchange class whose calls wait for permits, and are made again when the exchange is busy or fails."""
    ccxt: Any = sys.modules["ccxt"]

    class Paced(kind):  # type: ignore[misc]  # a class that is known at run time only
        _status = 0
        _headers: Mapping[str, str] = {}

        def on_rest_response(self, code: int, reason: str, url: str, method: str, headers: Any, *rest: Any) -> Any:
            # ccxt judges an answer right after this, without giving way to other calls.
            self._status, self._headers = code, {name.lower(): value for name, value in headers.items()}
            return super().on_rest_response(code, reason, url, method, headers, *rest)

        async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
            return await attempts.make(lambda: self._attempt(url, method, headers, body), self._judged)

        async def _attempt(self, url: str, method: str, headers: Any, body: Any) -> Any:
            self._status, self._headers = 0, {}
            answer = await super().fetch(url, method, headers, body)
            if isinstance(answer, str | bytes):
                raise errors.VendorFailed(f"{self.id} must answer with JSON, was {answer[:200]!r}")
            return answer

        def handle_message(self, client: Any, message: Any) -> None:
            try:
                super().handle_message(client, message)
            except Exception as error:  # ccxt would stop reading and say nothing
                client.on_error(ccxt.NetworkError(f"{self.id} sent a message that ccxt cannot read: {error!r}"))

        def _judged(self, error: Exception) -> Failure:
            wait = retry_after_s(self._headers.get("retry-after"), attempts.clock.now())
            known = told(error, wait)
            if not isinstance(known, errors.QuasarError):
                raise error
            passing = isinstance(error, ccxt.NetworkError) and not isinstance(error, ccxt.InvalidNonce)
            return Failure(known, passing, self._status)

    Paced.__name__ = kind.__name__
    return Paced


def told(error: Exception, wait_s: float | None = None) -> Exception:
    """Return an error of ccxt as one that the platform acts on; others as they are."""
    if isinstance(error, errors.QuasarError):
        return error
    ccxt: Any = sys.modules["ccxt"]
    text = " ".join(str(error).split())[:_IN_ERROR] or type(error).__name__
    if not isinstance(error, ccxt.BaseError):
        return error
    if isinstance(error, ccxt.BadSymbol):
        return UnknownSymbol(text)
    if isinstance(error, ccxt.AuthenticationError):
        return Unauthorised(text)
    if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection):
        return Throttled(text, retry_after_s=wait_s)
    if isinstance(error, ccxt.NotSupported):
        return Unsupported(text)
    return errors.VendorFailed(text, retry_after_s=wait_s)


def passing(error: BaseException) -> bool:
    """Tell whether another connection may cure the error."""
    if isinstance(error, errors.QuasarError | OSError | TimeoutError):
        return isinstance(error, errors.VendorFailed | OSError | TimeoutError)
    return isinstance(error, sys.modules["ccxt"].NetworkError)


def session(connections: int) -> aiohttp.ClientSession:
    """Return the connections that an exchange uses.

    They are ours and not ccxt's own, so that names are looked up by the system's resolver: the one that ccxt installs
    reads other files than the jail and a container have.
    """
    connector = aiohttp.TCPConnector(
        limit=connections, ssl=ssl.create_default_context(), resolver=aiohttp.ThreadedResolver()
    )
    return aiohttp.ClientSession(connector=connector)
