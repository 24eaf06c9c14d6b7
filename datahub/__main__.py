"""Run the DataHub: `python -m datahub`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Plug-ins are started by fork and exec while gRPC has threads; its handlers of forks crash some of the children
    # before they get to exec. gRPC reads this when it is loaded.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from datahub.app import build
    from datahub.config import read_settings
    from datahub.stream.pauses import shorten
    from quasar.rpc.ops.process import main

    shorten()
    sys.exit(main(read_settings, build, os.environ))
