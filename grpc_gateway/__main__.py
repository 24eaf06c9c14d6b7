"""Run the gateway: `python -m grpc_gateway`."""

from __future__ import annotations

import os
import sys

from grpc_gateway.run import main

if __name__ == "__main__":
    sys.exit(main(os.environ))
