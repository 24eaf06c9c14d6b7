"""The pauses of a process that keeps a long log, in one of its own: they are set for the whole of it."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc

import datahub.app
from datahub.stream.log import LiveLog
from datahub.stream.pauses import shorten
from datahub.stream.topic import Content, Topic

shorten()
looked = []
gc.callbacks.append(lambda phase, info: looked.append(info["generation"]) if phase == "stop" else None)
log, topic = LiveLog(1), Topic(1, Content.TRADES)
for number in range(300_000):
    log.append(topic, b"x" * 300, 5, number)
assert looked, "cycles among what is new are still found"
print(looked.count(2), gc.get_freeze_count() > 10_000)
"""


def test_a_log_that_fills_and_rolls_brings_no_look_at_everything() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "0 True\n", done.stderr
