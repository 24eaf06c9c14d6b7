"""The main job as `make main-job` does it: every step, on recorded data, in processes of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.main_job.stages import STEPS
from tests.unit.recorded import recorded

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 900


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 60)
async def test_the_main_job_holds_from_an_empty_home_to_a_denied_order() -> None:
    data = recorded("ohlcv/backtesting/GOOG.csv").parents[2]
    recorded("../truth/goog_sma_next_open.json")
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "scripts.main_job"],
        cwd=ROOT,
        env={**os.environ, "QUASAR_TEST_DATA": str(data)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    held = [line for line in done.stdout.splitlines() if line.startswith("holds ")]
    assert len(held) == len(STEPS)
