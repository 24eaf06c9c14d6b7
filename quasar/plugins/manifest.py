"""What a class declares about itself, as a value; read from the class once, inside its own process."""

from __future__ import annotations

import datetime as dt
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from importlib import metadata
from typing import Any, Final

from quasar.engine.parameters import Parameter, declared
from quasar.model.asset_classes import AssetClass, parse_asset_class
from quasar.model.intervals import Interval
from quasar.model.ticks import TickKind
from quasar.model.violations import violation
from quasar.sdk.declarations import Host, RateLimit, Secret, rate_limits, secrets

_NAME: Final = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")


class Kind(Enum):
    """What a class is."""

    PROVIDER = "provider"
    BROKER = "broker"
    STRATEGY = "strategy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceField:
    """One preference or parameter, for forms and checks."""

    path: str
    type: str
    """`integer`, `number`, `string`, `boolean` or `list`."""
    default: object = None
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[object, ...] = ()
    description: str = ""
    unit: str = ""
    needs_restart: bool = False
    # What a class in Python does not declare, and a plug-in in another language may.
    item_type: str = ""
    """Lists: the type of each item."""
    required: bool = False
    """A value must be stored before the class can run."""
    nullable: bool = False
    """Null is a legal value."""
    step: float | None = None
    """In which a form moves the value."""
    max_length: int = 0
    """Characters of a string, items of a list; 0: the platform's default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a class is and what it takes. The same version of the code always has the same one."""

    name: str
    kind: Kind
    class_name: str = ""
    module_path: str = ""
    """Where the class is, relative to the uploaded root; empty for built-in code."""
    description: str = ""
    author_version: str = ""
    sdk_version: str = ""
    language: str = "python"
    capabilities: tuple[str, ...] = ()
    """Providers: `HISTORICAL`, `LIVE`, `INDEX`, `SYMBOLS`. Brokers: `SYMBOLS` where the class lists instruments."""
    intervals: tuple[str, ...] = ()
    """Canonical, finest first."""
    streams_ticks: bool = False
    tick_kinds: tuple[str, ...] = ()
    """Live providers: `trade`, `quote`, `book_top`, as far as they can be streamed."""
    symbols_per_connection: int = 0
    """Live providers: symbols that one connection carries at most; 0: any number."""
    max_live_streams: int = 0
    """Live providers: connections that may be open at once; 0: one."""
    asset_classes: tuple[AssetClass, ...] = ()
    hosts: tuple[Host, ...] = ()
    history_depths: Mapping[str, dt.timedelta] | None = None
    rate_limits: tuple[RateLimit, ...] = ()
    concurrency: int = 0
    """Requests in flight at once; 0: the platform's default."""
    publication_delay: dt.timedelta | None = None
    default_calendar: str = ""
    indices: tuple[str, ...] = ()
    preferences: tuple[PreferenceField, ...] = ()
    secrets: tuple[Secret, ...] = ()
    warmup_bars: int = 0
    wants_ticks: bool = False
    order_types: tuple[str, ...] = ()
    times_in_force: tuple[str, ...] = ()
    paper: bool = False

    @property
    def ports(self) -> tuple[int, ...]:
        """The TCP ports of its hosts."""
        return tuple(sorted({host.port for host in self.hosts}))

    def preference_fields(self) -> dict[str, PreferenceField]:
        """Return the fields by path."""
        return {field.path: field for field in self.preferences}


def read_manifest(kind: Kind, found: type[Any], module_path: str = "") -> Manifest:
    """Read the declaration of a class.

    Raises:
        InvalidArgument: A declaration breaks a rule; the message names the attribute.
    """
    return _READERS[kind](found, module_path)


def _provider(found: type[Any], module_path: str) -> Manifest:
    intervals = _intervals(found.intervals)
    depths = {Interval.parse(name, "history_depth").code: depth for name, depth in dict(found.history_depth).items()}
    capabilities = tuple(one.value for one in found.capabilities())
    streams_ticks = bool(found.streams_ticks) and "LIVE" in capabilities
    return Manifest(
        **_shared(Kind.PROVIDER, found, module_path),
        author_version=str(found.version),
        capabilities=capabilities,
        intervals=intervals,
        streams_ticks=streams_ticks,
        tick_kinds=_tick_kinds(found) if streams_ticks else (),
        symbols_per_connection=_whole(found, "symbols_per_connection", 0, 1_000_000),
        max_live_streams=_whole(found, "max_live_streams", 1, 1_000),
        asset_classes=_asset_classes(found.asset_classes),
        hosts=tuple(Host.parse(host) for host in _texts(found, "hosts")),
        history_depths=depths,
        rate_limits=rate_limits(found.rate_limit),
        concurrency=_whole(found, "concurrency", 1, 1000),
        publication_delay=found.publication_delay or None,
        default_calendar=str(found.calendar),
        indices=tuple(_texts(found, "indices")),
        preferences=_fields(found),
        secrets=secrets(_texts(found, "secrets")),
    )


def _broker(found: type[Any], module_path: str) -> Manifest:
    return Manifest(
        **_shared(Kind.BROKER, found, module_path),
        author_version=str(getattr(found, "version", "")),
        capabilities=("SYMBOLS",) if _lists_instruments(found) else (),
        asset_classes=_asset_classes(getattr(found, "asset_classes", ())),
        hosts=tuple(Host.parse(host) for host in _texts(found, "hosts")),
        rate_limits=rate_limits(getattr(found, "rate_limit", None)),
        concurrency=int(getattr(found, "concurrency", 0)),
        preferences=_fields(found),
        secrets=secrets(_texts(found, "secret_names")),
        order_types=_lower(getattr(found, "order_types", ())),
        times_in_force=_lower(getattr(found, "times_in_force", ())),
        paper=bool(getattr(found, "paper", False)),
    )


def _lists_instruments(found: type[Any]) -> bool:
    """Tell whether a broker overrides the method that lists what it trades."""
    return any("instruments" in vars(base) for base in found.__mro__ if base.__module__ != "quasar.broker")


def _strategy(found: type[Any], module_path: str) -> Manifest:
    return Manifest(
        **_shared(Kind.STRATEGY, found, module_path),
        author_version=str(getattr(found, "version", "")),
        intervals=_intervals(found.intervals),
        preferences=_fields(found),
        warmup_bars=int(found.warm_up),
        wants_ticks="on_tick" in found.describe()["hooks"],
    )


_READERS: Final[Mapping[Kind, Callable[[type[Any], str], Manifest]]] = {
    Kind.PROVIDER: _provider,
    Kind.BROKER: _broker,
    Kind.STRATEGY: _strategy,
}


def _shared(kind: Kind, found: type[Any], module_path: str) -> dict[str, Any]:
    name = found.registered_name() if hasattr(found, "registered_name") else (getattr(found, "name", "") or "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise violation("name", "letters, digits, '_', '.' and '-', starting with a letter", name)
    doc = inspect.getdoc(found) if found.__doc__ else ""
    return {
        "name": name,
        "kind": kind,
        "class_name": found.__name__,
        "module_path": module_path,
        "description": (doc or "").strip().partition("\n")[0],
        "sdk_version": _sdk_version(),
    }


def _sdk_version() -> str:
    try:
        return metadata.version("quasar-platform")
    except metadata.PackageNotFoundError:  # run from a folder that was never installed
        return ""


def _intervals(declared_intervals: object) -> tuple[str, ...]:
    if isinstance(declared_intervals, str) or not hasattr(declared_intervals, "__iter__"):
        raise violation("intervals", "a tuple of intervals such as ('1min', '1d')", declared_intervals)
    found = {Interval.parse(str(text), "intervals") for text in declared_intervals}
    month = 31 * 86_400 * 1_000_000_000
    ordered = sorted(
        found, key=lambda one: (not one.is_time, one.length_ns or (month if one.is_month else 0), one.code)
    )
    return tuple(one.code for one in ordered)


def _asset_classes(names: object) -> tuple[AssetClass, ...]:
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise violation("asset_classes", "a tuple of asset classes such as ('crypto',)", names)
    parsed = (parse_asset_class(str(name), "asset_classes") for name in names)
    return tuple(dict.fromkeys(one for one in parsed if one is not None))


def _tick_kinds(found: type[Any]) -> tuple[str, ...]:
    kinds = {kind.name.lower(): kind for kind in TickKind}
    named = [one.name if isinstance(one, TickKind) else str(one) for one in _texts(found, "tick_kinds")]
    chosen = {name.lower() for name in named}
    if not chosen or chosen - kinds.keys():
        raise violation("tick_kinds", f"some of {', '.join(kinds)}", ", ".join(named))
    return tuple(name for name in kinds if name in chosen)


def _texts(found: type[Any], attribute: str) -> tuple[Any, ...]:
    values = getattr(found, attribute, ())
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        raise violation(attribute, "a tuple, also of one: ('value',)", values)
    return tuple(values)


def _whole(found: type[Any], attribute: str, least: int, most: int) -> int:
    value = getattr(found, attribute)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise violation(attribute, f"a whole number of {least} to {most}", value)
    return value


def _lower(names: object) -> tuple[str, ...]:
    return tuple(str(getattr(name, "value", name)).lower() for name in (names or ()))  # type: ignore[attr-defined]


_TYPES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    Decimal: "string",
}


def _fields(found: type[Any]) -> tuple[PreferenceField, ...]:
    return tuple(_field(name, parameter) for name, parameter in declared(found).items())


def _field(name: str, parameter: Parameter[Any]) -> PreferenceField:
    return PreferenceField(
        path=name,
        type=_TYPES[type(parameter.default)],
        default=_plain(parameter.default),
        minimum=_number(parameter.minimum),
        maximum=_number(parameter.maximum),
        allowed=tuple(_plain(choice) for choice in parameter.choices),
        description=parameter.description,
        unit=getattr(parameter, "unit", ""),
        needs_restart=bool(getattr(parameter, "needs_restart", False)),
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else None
