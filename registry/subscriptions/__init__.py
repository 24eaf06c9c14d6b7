"""Subscriptions: what market data is to be collected, and how well that goes."""

from __future__ import annotations
