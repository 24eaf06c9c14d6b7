"""Puts this process into its jail, in two steps: before anything heavy is loaded, and before the author's code is.

The first step must come while there is one thread: Landlock confines the calling thread and those that it starts.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Final

from quasar.plugins.jail import kernel, landlock, seccomp, user
from quasar.plugins.jail.posture import PostureItem
from quasar.plugins.jail.spec import Limits, Spec

_SYSTEM_READABLE: Final = (
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
    "/usr/local/lib",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/run/systemd/resolve/stub-resolv.conf",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/sys/devices/system/cpu",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/net/core/somaxconn",
)
_DNS_PORT: Final = 53
_LOADERS: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu")
_STACK_ROOM: Final = 256 * 1024 * 1024


def confine(spec: Spec) -> list[PostureItem]:
    """Take the first step: limits, user, files and ports. Returns what holds.

    Raises:
        SystemExit: The service that started this process is gone.
    """
    if os.getppid() == 1:
        raise SystemExit("the service that started this process is gone")
    os.umask(0o077)
    os.chdir(spec.scratch)
    items = [PostureItem("environment", True, "nothing of the service's environment is passed on")]
    readable = _python_folders(spec)
    version = landlock.abi()
    items.append(_take_user(spec, readable, version))
    items += _limit(spec.limits, own_user=os.getuid() != 0 and items[-1].enforced)
    if version:
        rules = [(path, landlock.READ) for path in (*readable, *_SYSTEM_READABLE)]
        rules += [(spec.scratch, landlock.WRITE), (spec.run_folder, landlock.READ | landlock.MAKE_SOCK)]
        rules += _program_rules(spec)
        rules += [("/dev/null", landlock.READ_FILE | landlock.WRITE_FILE)]
        ports = (*spec.ports, _DNS_PORT) if spec.ports else ()
        items += landlock.restrict(version, rules, ports)
    else:
        missing = "this kernel has no Landlock" if sys.platform.startswith("linux") else "only Linux has Landlock"
        items += [PostureItem(measure, False, missing) for measure in ("filesystem", "network", "signals")]
    if sys.platform.startswith("linux"):
        kernel.die_with_parent(signal.SIGKILL)  # after the change of user, which makes the kernel forget it
    return items


def _program_rules(spec: Spec) -> list[tuple[str, int]]:
    """Return what a program in another language needs to run: itself, its files, the system's loader."""
    if not spec.command:
        return []
    loaders = [str(path) for folder in _LOADERS for path in Path(folder).glob("ld-*")]
    runs = landlock.READ | landlock.EXECUTE
    return [(path, runs) for path in (spec.program_folder, spec.command[0], *loaders)]


def seal(spec: Spec) -> list[PostureItem]:
    """Take the second step, when the two sockets are there: no processes, no local sockets. Returns what holds."""
    os.nice(spec.limits.nice)  # the platform's own modules were loaded at the usual pace
    if not seccomp.supported():
        missing = "no seccomp filter for this machine"
        return [PostureItem("processes", False, missing), PostureItem("local sockets", False, missing)]
    try:
        seccomp.apply(network=bool(spec.ports), programs=bool(spec.command))
    except OSError as error:
        missing = f"the kernel refused the seccomp filter: {error.strerror}"
        return [PostureItem("processes", False, missing), PostureItem("local sockets", False, missing)]
    return [
        PostureItem(
            "processes", True, f"seccomp: threads only, no forks{'' if spec.command else ', no other programs'}"
        ),
        *_programs(spec),
        PostureItem("local sockets", True, "seccomp: no Unix sockets beside those to the service"),
        PostureItem(
            "udp", not spec.ports, "for name resolution to any host" if spec.ports else "seccomp: no IP sockets"
        ),
    ]


def _programs(spec: Spec) -> list[PostureItem]:
    if not spec.command:
        return []
    if not landlock.abi():
        return [PostureItem("programs", False, "it may become any program of this machine: the kernel has no Landlock")]
    return [PostureItem("programs", True, "Landlock: becomes nothing but its own program")]


def _python_folders(spec: Spec) -> list[str]:
    package = Path(__file__).resolve().parents[2]
    generated = {str(Path(found).resolve()) for found in _generated_folders()}
    paths = sysconfig.get_paths()
    folders = {sys.prefix, sys.base_prefix, paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]}
    code = {str(Path(spec.path).parent)} if spec.path else set()
    return sorted({str(package), *generated, *folders, *code, *spec.readable})


def _generated_folders() -> list[str]:
    from importlib.util import find_spec

    found = find_spec("quasar_proto")
    return list(found.submodule_search_locations or ()) if found else []


def _take_user(spec: Spec, readable: list[str], landlock_version: int) -> PostureItem:
    if os.getuid() != 0:
        if sys.platform.startswith("linux"):
            user.give_up_capabilities(read_everywhere=bool(landlock_version) and not user.reachable(readable))
        return PostureItem("user", False, f"the service's own user id {os.getuid()}: the service is not root")
    needed = (*readable, spec.run_folder)
    open_to_all = user.reachable(readable) and user.reachable([str(Path(spec.run_folder).parent)])
    if not open_to_all and not landlock_version:
        closed = ", ".join(path for path in needed if not user.reachable([path]))
        return PostureItem("user", False, f"root: {closed} is closed to other users and the kernel has no Landlock")
    own = user.own_id(os.getpid())
    user.give((spec.scratch, spec.run_folder, spec.host_socket), own)
    return user.leave_root(own, read_everywhere=not open_to_all)


def _limit(limits: Limits, *, own_user: bool) -> list[PostureItem]:
    # Private writable memory, thread stacks included. Resident memory has no limit of the kernel's own: it is watched.
    data = limits.memory_bytes + _STACK_ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    if own_user:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits.threads, limits.threads))
    mib = 1024 * 1024
    return [
        PostureItem("memory", True, f"{data // mib} MiB by the kernel; {limits.memory_bytes // mib} MiB watched"),
        PostureItem("files", True, f"{limits.open_files} open, {limits.file_bytes // mib} MiB each"),
        PostureItem("threads", own_user, f"{limits.threads} at most" if own_user else "bounded by memory only"),
    ]
