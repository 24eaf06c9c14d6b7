"""Write docs/pictures/console.svg: the console's live ticks, from a platform that runs and has data (`quasar demo`).

It is run as `.venv/bin/python scripts/picture_console.py` with the environment of `quasar tui`; scripts/pictures.mjs
does the same for the page.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tui.app import Console
from tui.config import ConsoleSettings
from tui.session import Session

PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "console.svg"
SIZE = (132, 32)
LIVE_TICKS = "5"
# Sparklines need some prices to be drawn from.
CHANGES = 400
PATIENCE_S = 60


async def picture() -> str:
    """Return the console's screen as SVG once live ticks have moved on it.

    Raises:
        TimeoutError: Nothing moved.
    """
    app = Console(Session(ConsoleSettings.read(os.environ, read_only=True)))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(LIVE_TICKS)
        async with asyncio.timeout(PATIENCE_S):
            while app.table.row_count == 0 or app.store.changes < CHANGES:
                await pilot.pause(0.2)
        return app.export_screenshot(title="quasar tui")


def main() -> int:
    """Write the picture."""
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(asyncio.run(picture()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(PICTURE.parents[2])}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
