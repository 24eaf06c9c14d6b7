"""What a class declares about itself: hosts, rate limits, secrets, preferences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quasar import errors
from quasar.engine.parameters import Parameter, T
from quasar.model.violations import violation

DEFAULT_PORT = 443


@dataclass(frozen=True, slots=True)
class Host:
    """A host and TCP port that the code may reach."""

    host: str
    """A name or an address; a leading `*.` covers every subdomain."""
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str | Host) -> Host:
        """Read `api.example.com` or `api.example.com:8443`.

        Raises:
            InvalidArgument: The text is no host, or the port no port.
        """
        if isinstance(text, Host):
            return text
        name, colon, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
        name = name or text
        if not name or "/" in name or any(sign.isspace() for sign in name) or (colon and not port.isdecimal()):
            raise violation("hosts", "a host name such as api.example.com or api.example.com:8443", text)
        number = int(port) if colon else DEFAULT_PORT
        if not 0 < number < 65536:
            raise violation("hosts", "a host with a port of 1 to 65535", text)
        return cls(name, number)

    def __str__(self) -> str:
        """Return the form that `parse` reads."""
        return self.host if self.port == DEFAULT_PORT else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` calls to the vendor in any window of `window_s` seconds."""

    calls: int
    """Calls, or units of weight where calls weigh more than one."""
    window_s: float
    """Length of the window in seconds."""
    burst: int = 0
    """Calls that may be made back to back before pacing sets in; 0: as many as `calls`."""

    def __post_init__(self) -> None:
        """Hold the fields to their ranges.

        Raises:
            InvalidArgument: A field is out of range.
        """
        if self.calls < 1 or self.burst < 0:
            raise violation("rate_limit", "at least one call in a window", self.calls if self.calls < 1 else self.burst)
        if not 0 < self.window_s <= 2_678_400:
            raise violation("rate_limit", "a window above 0 s and at most 31 days", self.window_s)

    @property
    def calls_per_s(self) -> float:
        """The pace that can be kept up."""
        return self.calls / self.window_s


RateLimits = RateLimit | tuple[int, float] | Sequence[RateLimit] | None
"""What `rate_limit` of a class may be: one limit, `(calls, seconds)`, several limits, or none."""


def rate_limits(declared: RateLimits) -> tuple[RateLimit, ...]:
    """Return the limits in one form.

    Raises:
        InvalidArgument: It is none of the forms.
    """
    if declared is None:
        return ()
    if isinstance(declared, RateLimit):
        return (declared,)
    if isinstance(declared, Sequence) and len(declared) == 2 and all(isinstance(n, int | float) for n in declared):
        return (RateLimit(int(declared[0]), float(declared[1])),)  # type: ignore[arg-type]  # told apart just above
    if isinstance(declared, Sequence) and all(isinstance(limit, RateLimit) for limit in declared):
        return tuple(declared)  # type: ignore[arg-type]  # told apart just above
    raise violation("rate_limit", "RateLimit(calls, seconds), (calls, seconds), or several RateLimit", declared)


@dataclass(frozen=True, slots=True)
class Secret:
    """One secret that a class takes."""

    name: str
    """The key under which the class reads it."""
    description: str = ""
    """One sentence for people."""
    required: bool = True
    """Whether the class cannot run without it."""


def secrets(declared: Iterable[str | Secret]) -> tuple[Secret, ...]:
    """Return the secrets in one form; a bare name is a required secret."""
    return tuple(Secret(one) if isinstance(one, str) else one for one in declared)


class Preference(Parameter[T]):
    """One preference, typed by its default: `page_size = Preference(500, minimum=1, maximum=1000)`.

    Read on an instance it is the value that is in force, which an operator may change while the plug-in runs.
    """

    def __init__(
        self,
        default: T,
        *,
        minimum: T | None = None,
        maximum: T | None = None,
        choices: Sequence[T] = (),
        description: str = "",
        unit: str = "",
        needs_restart: bool = False,
    ) -> None:
        """Declare a preference.

        Args:
            default: Its value unless another is stored; its type is the preference's.
            minimum: The least value.
            maximum: The greatest value.
            choices: The only values; empty: any.
            description: What it does, for people.
            unit: The unit of a number.
            needs_restart: A change takes effect in a new process only.
        """
        value: Any = default  # mypy loses a constrained type variable on its way through super()
        bounds: dict[str, Any] = {"minimum": minimum, "maximum": maximum, "choices": choices}
        super().__init__(value, description=description, **bounds)
        self.unit = unit
        self.needs_restart = needs_restart

    def _violation(self, rule: str, value: object) -> errors.InvalidArgument:
        text = f"preference {self.name} must be {rule}, was {value!r}"
        return errors.InvalidArgument(text, violations=[errors.FieldViolation(f"preferences.{self.name}", text)])
