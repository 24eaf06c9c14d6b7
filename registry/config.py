"""Settings of the Registry: those that all services share."""

from __future__ import annotations

from collections.abc import Mapping

from quasar.config import REGISTRY, Settings


def read_settings(variables: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables; `quasar.config` lists them.

    Raises:
        BadSetting: A variable has a value that cannot be used.
    """
    return Settings.read(REGISTRY, variables)
