"""The life of the console's process."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from quasar.environment import BadSetting
from tui.config import ConsoleSettings


def main(variables: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run the console until its operator leaves; return the exit code.

    Args:
        variables: The environment.
        arguments: `--readonly` takes the keys that change something away.
    """
    unknown = [argument for argument in arguments if argument != "--readonly"]
    if unknown:
        sys.stderr.write(f"The console takes --readonly only, was {' '.join(unknown)}.\n")
        return 2
    try:
        settings = ConsoleSettings.read(variables, read_only="--readonly" in arguments)
    except BadSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    from tui.app import Console  # loads Textual, which a refusal above should not wait for
    from tui.session import Session

    Console(Session(settings)).run()
    return 0
