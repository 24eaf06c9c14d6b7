"""Run the StrategyEngine: `python -m strategy_engine`."""

from __future__ import annotations

import os
import sys

from quasar.rpc.ops.process import main
from strategy_engine.app import build
from strategy_engine.config import read_settings

if __name__ == "__main__":
    sys.exit(main(read_settings, build, os.environ))
