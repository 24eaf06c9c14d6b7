"""Translations between the values of `quasar.model` and what travels on the wire."""

from __future__ import annotations
