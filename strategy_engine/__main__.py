"""Run the StrategyEngine: `python -m strategy_engine`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Plug-ins are started by fork and exec while gRPC has threads; its handlers of forks crash some of the children
    # before they get to exec. gRPC reads this when it is loaded.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from quasar.rpc.ops.process import main
    from strategy_engine.app import build
    from strategy_engine.config import read_settings

    sys.exit(main(read_settings, build, os.environ))
