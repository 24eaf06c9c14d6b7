"""Run the DataHub: `python -m datahub`."""

from __future__ import annotations

import os
import sys

from datahub.app import build
from datahub.config import read_settings
from datahub.stream.pauses import shorten
from quasar.rpc.ops.process import main

if __name__ == "__main__":
    shorten()
    sys.exit(main(read_settings, build, os.environ))
