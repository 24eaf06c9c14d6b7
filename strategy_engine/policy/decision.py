"""What a judgement says: each rule with its numbers, and all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from strategy_engine.policy.limits import PLATFORM, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One rule and how the order stands to it."""

    reason: str
    """A name of the contract's `DenialReason`, without its prefix."""
    passed: bool
    scope: Scope = PLATFORM
    policy_id: str = ""
    limit: Decimal | None = None
    value: Decimal | None = None
    value_before: Decimal | None = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The judgement of one order."""

    checks: Sequence[Check]
    quantity: Decimal | None
    notional: Decimal | None
    position_before: Decimal
    position_after: Decimal

    @property
    def denials(self) -> list[Check]:
        """The rules that the order breaks."""
        return [check for check in self.checks if not check.passed]

    @property
    def allowed(self) -> bool:
        """Whether it may be placed."""
        return not self.denials
