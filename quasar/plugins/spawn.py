"""Starts the process of a plug-in with nothing of the service's own: environment, standard input, file descriptors."""

from __future__ import annotations

import asyncio
import os
import sys

from quasar.plugins.jail.spec import HOST_SOCKET_VARIABLE, SOCKET_VARIABLE, VARIABLE, Spec


async def spawn(spec: Spec) -> tuple[asyncio.subprocess.Process, int]:
    """Start a process; return it and the end of the pipe that it writes its output to."""
    reading, writing = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # neither the environment nor the folder that the service stands in changes what is imported
            "-B",
            "-m",
            "quasar.plugins.host",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            env=_environment(spec),
            cwd=spec.scratch,
            start_new_session=True,
        )
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    return process, reading


def _environment(spec: Spec) -> dict[str, str]:
    return {
        VARIABLE: spec.to_json(),
        SOCKET_VARIABLE: spec.socket,
        HOST_SOCKET_VARIABLE: spec.host_socket,
        "HOME": spec.scratch,
        "TMPDIR": spec.scratch,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "MALLOC_ARENA_MAX": "2",  # a plug-in that waits must not hold an arena for each of gRPC's threads
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "GRPC_VERBOSITY": "NONE",
        "GRPC_ENABLE_FORK_SUPPORT": "0",
    }
