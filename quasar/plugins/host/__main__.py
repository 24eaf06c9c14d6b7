"""Starts the process of a plug-in."""

from __future__ import annotations

from quasar.plugins.host.boot import main

if __name__ == "__main__":
    main()
