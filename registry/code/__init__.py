"""Code: providers, brokers and strategies, their versions, secrets and preferences."""

from __future__ import annotations
