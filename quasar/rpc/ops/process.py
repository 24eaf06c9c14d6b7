"""The life of a service's process: leash, settings, server, exit code."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TypeVar

from quasar import leash
from quasar.environment import BadSetting
from quasar.rpc.run import run, serve
from quasar.rpc.server import RpcServer

UNUSABLE_SETTING = 2
"""Exit code when a setting cannot be used: starting again cannot help."""

S = TypeVar("S")


def main(
    read_settings: Callable[[Mapping[str, str]], S],
    build: Callable[[S, AsyncExitStack], Awaitable[RpcServer]],
    variables: Mapping[str, str],
) -> int:
    """Run a service until SIGTERM or SIGINT; return the exit code.

    Args:
        read_settings: Reads the settings of the service.
        build: Its composition root.
        variables: The environment.
    """
    leash.hold(variables)
    try:
        settings = read_settings(variables)
    except BadSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return UNUSABLE_SETTING
    return run(serve(lambda stack: build(settings, stack)))
