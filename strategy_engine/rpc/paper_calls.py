"""Calls about the cash of paper accounts: paying in and out, and putting an account back to its start."""

from __future__ import annotations

from typing import Any

from quasar.model.money import parse_decimal
from quasar.rpc.ops.actors import calling_actor
from quasar_proto.strategy.v1 import trading_service_pb2 as pb
from strategy_engine.rpc.account_messages import account_message, new_account
from strategy_engine.trading.survey import Survey
from strategy_engine.trading.treasury import Treasury


class PaperCalls:
    """The part of `TradingService` that moves cash."""

    def __init__(self, treasury: Treasury, survey: Survey) -> None:
        """Move cash through `treasury`."""
        self._treasury = treasury
        self._worth = survey

    async def AdjustPaperCash(self, request: pb.AdjustPaperCashRequest, context: Any) -> pb.AdjustPaperCashResponse:
        """Pay into a paper account or out of it; neither is profit or loss."""
        account = await self._treasury.pay(
            request.account_id,
            parse_decimal(request.amount.amount.value, "amount.amount"),
            request.amount.currency,
            reason=request.reason,
            request_id=request.request_id,
            actor=calling_actor(),
        )
        return pb.AdjustPaperCashResponse(account=account_message(account, await self._worth.equity(account)))

    async def ResetPaperAccount(
        self, request: pb.ResetPaperAccountRequest, context: Any
    ) -> pb.ResetPaperAccountResponse:
        """Put a paper account back to its start; what was recorded stays readable."""
        former = await self._treasury.account(request.account_id)
        fresh = None
        if request.HasField("paper"):
            if not request.paper.cash:
                cash = request.paper.cash.add(currency=former.currency)
                cash.amount.value = format(former.initial_cash, "f")
            labels = dict(former.settings.get("labels", {}))
            fresh = new_account(former.account_id, former.display_name, labels, request.paper)
        account = await self._treasury.reset(request.account_id, fresh, reason=request.reason, actor=calling_actor())
        return pb.ResetPaperAccountResponse(account=account_message(account, await self._worth.equity(account)))
