"""Common symbols and what stands for them."""

from __future__ import annotations
