"""Reading settings from environment variables, with messages that name the variable, its value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from quasar.errors import FieldViolation, InvalidArgument


class BadSetting(InvalidArgument):
    """A setting has a value that cannot be used."""

    def __init__(self, variable: str, rule: str, value: str | None) -> None:
        """Say which variable breaks which rule.

        Args:
            variable: Name of the environment variable, or the path of a file.
            rule: What the value must be, ending in what helps ("must be …; unset it to use 8080").
            value: The value that was found; None when there was none.
        """
        description = rule if value is None else f"{rule}, was {value!r}"
        super().__init__(f"{variable} {description}.", violations=[FieldViolation(variable, description)])


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables of one process. An empty variable counts as unset, as docker compose writes unset ones."""

    variables: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """Return the variable, or what stands in the file that `<name>_FILE` names (Docker secrets), or None.

        Raises:
            BadSetting: Both are set, or the file cannot be read.
        """
        value = self.variables.get(name, "").strip()
        file = self.variables.get(f"{name}_FILE", "").strip()
        if not file:
            return value or None
        if value:
            raise BadSetting(f"{name}_FILE", f"must not be set together with {name}; unset one of them", file)
        try:
            return Path(file).read_text(encoding="utf-8").strip() or None
        except (OSError, UnicodeDecodeError) as error:
            problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise BadSetting(f"{name}_FILE", f"must name a readable text file ({problem})", file) from error

    def integer(self, name: str, default: int, *, at_least: int, at_most: int) -> int:
        """Return a whole number within bounds."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[+-]?\d{1,18}", value) or not at_least <= int(value) <= at_most:
            rule = f"must be a whole number from {at_least} to {at_most}; unset it for {default}"
            raise BadSetting(name, rule, value)
        return int(value)

    def port(self, name: str, default: int) -> int:
        """Return a TCP port."""
        return self.integer(name, default, at_least=1, at_most=65535)

    def seconds(self, name: str, default: float, *, at_most: float) -> float:
        """Return a duration in seconds, greater than zero."""
        value = self.text(name)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 < number <= at_most:
            rule = f"must be a number of seconds above 0 and up to {at_most:g}; unset it for {default:g}"
            raise BadSetting(name, rule, value)
        return number

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Return one of the words that are allowed, in any letter case."""
        value = self.text(name)
        if value is None:
            return default
        if value.lower() not in choices:
            raise BadSetting(name, f"must be one of {', '.join(choices)}; unset it for {default}", value)
        return value.lower()

    def file(self, name: str) -> Path | None:
        """Return the path of a file that exists."""
        value = self.text(name)
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.is_file():
            raise BadSetting(name, "must name a file that exists; correct the path or unset it", value)
        return path

    def address(self, name: str, default: str) -> str:
        """Return `host:port`."""
        value = self.text(name)
        if value is None:
            return default
        host, _, port = value.rpartition(":")
        if not host or not re.fullmatch(r"\d{1,5}", port) or not 1 <= int(port) <= 65535:
            raise BadSetting(name, f"must be host:port; unset it for {default}", value)
        return value

    def database_url(self, name: str) -> str | None:
        """Return a PostgreSQL URL."""
        value = self.text(name)
        if value is None:
            return None
        if not _names_database(value):
            rule = "must be postgresql://user:password@host:port/database; unset it to use the embedded PostgreSQL"
            raise BadSetting(name, rule, _without_password(value))
        return value


def _names_database(url: str) -> bool:
    """Tell whether a URL is PostgreSQL's, names a database, and has a port that is one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("postgresql", "postgres") and bool(parts.path.strip("/")) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is no number
        return False


def _without_password(text: str) -> str:
    """Hide the passwords of what was to be a URL, also in the other form that PostgreSQL knows (`password=…`)."""
    hidden = re.sub(r"(://[^\s:/@]*:)[^\s]*@", r"\1…@", text)
    return re.sub(r"(?i)(password\s*=\s*)('[^']*'|[^\s&]+)", r"\1…", hidden)
