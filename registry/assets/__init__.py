"""The symbols that sources know: discovery, lists, changes by hand."""

from __future__ import annotations
