"""Do the main job: `python -m scripts.main_job`."""

from __future__ import annotations

import sys

from scripts.main_job.report import main

if __name__ == "__main__":
    sys.exit(main())
