"""The DataHub as it is built for production, with live providers in processes of their own."""

from __future__ import annotations

from tests.integration.datahub.live.replicas import nats, replicas
from tests.integration.services.conftest import bearers, start

__all__ = ["bearers", "nats", "replicas", "start"]
