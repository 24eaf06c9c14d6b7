"""Whether a worker still lives, as far as this machine can tell."""

from __future__ import annotations

import subprocess
import sys

import psutil

from quasar.ops.workers import dead_workers, worker_identity


def test_this_process_lives() -> None:
    assert dead_workers([worker_identity()]) == []


def test_a_process_that_has_ended_is_dead() -> None:
    host, _, _ = worker_identity().split("/")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        worker = f"{host}/{process.pid}/{psutil.Process(process.pid).create_time():.2f}"
        assert dead_workers([worker]) == []
        process.communicate(b"\n")
    assert dead_workers([worker]) == [worker]


def test_another_process_with_the_same_id_is_not_taken_for_the_worker() -> None:
    host, pid, start = worker_identity().split("/")
    earlier = f"{host}/{pid}/{float(start) - 3600:.2f}"
    assert dead_workers([earlier]) == [earlier]


def test_nothing_is_said_of_other_hosts() -> None:
    assert dead_workers(["elsewhere/1/1.00", "nonsense", "", f"{worker_identity().split('/')[0]}/x/y"]) == []
