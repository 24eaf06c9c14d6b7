"""What the process of one version of the code is started with."""

from __future__ import annotations

import os
from pathlib import Path

from quasar.plugins.code import CodeVersion
from quasar.plugins.folders import PIPES, chosen_folders
from quasar.plugins.foreign import foreign_of, unpack
from quasar.plugins.jail.spec import Limits, Spec
from quasar.plugins.settings import ProcessSettings


def specify(
    folder: Path, code: CodeVersion, path: str, ports: tuple[int, ...], limits: Limits, settings: ProcessSettings
) -> Spec:
    """Return the specification of a process; the files of a program in another language are written on the way.

    Args:
        folder: The folder of the process.
        code: What it runs.
        path: Where the source lies; empty for built-in code.
        ports: TCP ports that it may connect to.
        limits: What it may use.
        settings: How processes are run.

    Raises:
        CodeRejected: The upload cannot be unpacked.
        PluginUnavailable: Its program is not on this machine.
    """
    foreign = foreign_of(code.file_name, code.source)
    programs = folder / "program"
    return Spec(
        kind=code.kind.value,
        name=code.name,
        version=code.version,
        path=path,
        file_name=code.file_name,
        sha256=code.sha256,
        builtin=code.builtin,
        socket=str(folder / "p"),
        host_socket=str(folder / "h"),
        service_pid=os.getpid(),
        run_folder=str(folder),
        scratch=str(folder / "scratch"),
        pipes=str(folder / PIPES),
        ports=_open_ports(ports, settings),
        command=unpack(foreign, code.source, programs) if foreign is not None else (),
        program_folder=str(programs),
        readable=chosen_folders(code),
        limits=limits,
        log_level=settings.log_level,
        wire=settings.wire,
    )


def _open_ports(ports: tuple[int, ...], settings: ProcessSettings) -> tuple[int, ...]:
    if settings.validating:
        return ()
    return (settings.replay_port, *settings.player_ports) if settings.replay_port else ports
