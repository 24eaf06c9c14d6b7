"""Run the Registry: `python -m registry`."""

from __future__ import annotations

import os
import sys

from quasar.rpc.ops.process import main
from registry.app import build
from registry.config import read_settings

if __name__ == "__main__":
    sys.exit(main(read_settings, build, os.environ))
