"""Subscriptions as they are kept."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from quasar.ops.actors import Actor
from registry.subscriptions.plans import Wish
from registry.subscriptions.selections import Selection


class State(StrEnum):
    """Whether somebody wants a subscription to collect."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """That market data of one provider is to be collected at one interval."""

    subscription_id: uuid.UUID | None
    """None: it is not stored."""
    code_id: int
    wish: Wish
    """What the caller decided, checked and in canonical form."""
    state: State
    pause_reason: str
    provider_active: bool
    series_count: int
    unresolved_count: int
    create_time: dt.datetime
    update_time: dt.datetime
    created_by: Actor | None
    revision: int

    @property
    def etag(self) -> str:
        """Changes with every change of the subscription."""
        return f"s{self.revision}-{self.update_time.timestamp():.6f}"

    @property
    def selection(self) -> Selection:
        """What it covers."""
        return self.wish.selection

    def document(self) -> dict[str, Any]:
        """Return what events tell of it before and after a change."""
        wish = self.wish
        return {
            "provider": wish.provider,
            "selector": wish.selection.document(),
            "interval": wish.interval,
            "historical": wish.historical,
            "live": wish.live,
            "store_ticks": wish.store_ticks,
            "tick_kinds": list(wish.tick_kinds),
            "cron": wish.cron,
            "time_zone": wish.time_zone,
            "backfill_start": None if wish.backfill_start is None else wish.backfill_start.isoformat(),
            "note": wish.note,
            "state": str(self.state),
        }
