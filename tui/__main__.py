"""Run the console: `python -m tui`."""

from __future__ import annotations

import os
import sys

from tui.run import main

if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
