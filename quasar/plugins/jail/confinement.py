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
    "/run/systemd/resolve",  # the folders, as the files are replaced when the network changes
    "/run/resolvconf",
    "/dev/urandom",
    "/dev/random",
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
    os.umask(0o077)
    os.chdir(spec.scratch)
    items = [PostureItem("environment", True, "nothing of the service's environment is passed on")]
    readable = _python_folders(spec)
    version = landlock.abi()
    item, together = _take_user(spec, readable, version)
    items.append(item)
    items += _limit(spec.limits, together)
    if version:
        rules = [(path, landlock.READ) for path in (*readable, *_SYSTEM_READABLE)]
        rules += [(spec.scratch, landlock.WRITE), (spec.run_folder, landlock.READ | landlock.MAKE_SOCK)]
        rules += [(spec.pipes, landlock.WRITE_FILE)] if spec.pipes else []
        rules += _program_rules(spec)
        rules += [("/dev/null", landlock.READ_FILE | landlock.WRITE_FILE)]
        ports = (*spec.ports, _DNS_PORT) if spec.ports else ()
        items += landlock.restrict(version, rules, ports)
    else:
        missing = "this kernel has no Landlock" if sys.platform.startswith("linux") else "only Linux has Landlock"
        items += [PostureItem(measure, False, missing) for measure in ("filesystem", "network", "signals")]
    if sys.platform.startswith("linux"):
        kernel.die_with_parent(signal.SIGKILL)  # after the change of user, which makes the kernel forget it
    if spec.service_pid and os.getppid() != spec.service_pid:  # the kernel tells nothing of an end before that
        raise SystemExit("the service that started this process is gone")
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
        return _unsealed("no seccomp filter for this machine")
    shared = not user.is_own(os.getuid())
    try:
        seccomp.apply(network=bool(spec.ports), programs=bool(spec.command), shared_user=shared)
    except OSError as error:
        return _unsealed(f"the kernel refused the seccomp filter: {error.strerror}")
    others = "" if spec.command else ", no other programs"
    marks = "seccomp: changing mode, owner or times of a file does nothing" if shared else "of its own files only"
    return [
        PostureItem("processes", True, f"seccomp: threads only, no forks{others}"),
        *_programs(spec),
        PostureItem("local sockets", True, "seccomp: no Unix sockets beside those to the service"),
        PostureItem("permissions", True, marks),
        PostureItem(
            "udp", not spec.ports, "for name resolution to any host" if spec.ports else "seccomp: no IP sockets"
        ),
    ]


def _unsealed(why: str) -> list[PostureItem]:
    return [PostureItem(measure, False, why) for measure in ("processes", "local sockets", "permissions", "udp")]


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


def _take_user(spec: Spec, readable: list[str], landlock_version: int) -> tuple[PostureItem, str]:
    """Give up root; return what holds, and why threads are counted together with other processes', if they are."""
    if os.getuid() != 0:
        return _share_user(readable, landlock_version)
    needed = (*readable, spec.run_folder)
    open_to_all = user.reachable(readable) and user.reachable([str(Path(spec.run_folder).parent)])
    if not open_to_all and not landlock_version:
        closed = ", ".join(path for path in needed if not user.reachable([path]))
        why = f"root: {closed} is closed to other users and the kernel has no Landlock"
        return PostureItem("user", False, why), "root has no limit on them"
    own = user.own_id(os.getpid())
    user.give((spec.scratch, spec.run_folder, spec.host_socket), own)
    return user.leave_root(own, read_everywhere=not open_to_all), ""


def _share_user(readable: list[str], landlock_version: int) -> tuple[PostureItem, str]:
    why = "only Linux counts them for one process"
    if sys.platform.startswith("linux"):
        # That right holds outside of a user namespace only, so a service that reads Python by it gets none.
        needed = bool(landlock_version) and user.may_read_everything() and not user.reachable(readable)
        why = "it reads past file permissions" if needed else user.count_apart()
        user.give_up_capabilities(read_everywhere=needed)
    return PostureItem("user", False, f"the service's own user id {os.getuid()}: the service is not root"), why


def _limit(limits: Limits, together: str) -> list[PostureItem]:
    # Private writable memory, thread stacks included. Resident memory has no limit of the kernel's own: it is watched.
    data = limits.memory_bytes + _STACK_ROOM
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files, limits.open_files))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.cpu_s:
        resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    if not together:
        resource.setrlimit(resource.RLIMIT_NPROC, (limits.threads, limits.threads))
    mib = 1024 * 1024
    threads = f"{limits.threads} at most"
    return [
        PostureItem("memory", True, f"{data // mib} MiB by the kernel; {limits.memory_bytes // mib} MiB watched"),
        PostureItem("files", True, f"{limits.open_files} open, {limits.file_bytes // mib} MiB each"),
        PostureItem("scratch folder", False, f"{limits.scratch_bytes // mib} MiB in all, looked at every few seconds"),
        PostureItem("threads", not together, f"{threads}, looked at every second: {together}" if together else threads),
    ]
