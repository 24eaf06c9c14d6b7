"""Accounts and the rules of their markets between messages and values."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from quasar.convert.manifest import asset_class_to_proto
from quasar.convert.plugin_terms import rules_of
from quasar.engine.rules import MarketRules
from quasar.errors import FieldViolation, InvalidArgument, Unimplemented
from quasar.model.asset_classes import parse_asset_class
from quasar.model.money import currency_code, parse_decimal
from quasar.rpc.wellknown import timestamp, timestamp_ns
from quasar_proto.strategy.v1 import backtest_pb2, order_pb2, trading_pb2
from strategy_engine.rpc.values import decimal_message, document, message_of
from strategy_engine.trading.orders import Account
from strategy_engine.trading.quotes import Quote, grid_of, instrument_rules_of

PAPER: Final = "Paper"
"""Name of the broker that is part of the platform."""


def market_rules(account: Account) -> MarketRules:
    """Return the rules by which an account's orders fill."""
    paper = message_of(account.settings.get("paper", {}), trading_pb2.PaperSettings)
    return _rules(paper, account.initial_cash, account.currency)


def _rules(paper: trading_pb2.PaperSettings, cash: Decimal, currency: str) -> MarketRules:
    terms = backtest_pb2.BacktestTerms(execution=paper.execution)
    terms.cash.amount.value = format(cash, "f")
    terms.cash.currency = currency
    return rules_of(terms)


def new_account(
    account_id: str, display_name: str, labels: dict[str, str], paper: trading_pb2.PaperSettings
) -> Account:
    """Return a paper account that is to be created.

    Raises:
        InvalidArgument: The cash is negative, or the execution model asks for what the engine cannot do.
        Unimplemented: There is cash in several currencies.
    """
    if len(paper.cash) > 1:
        raise Unimplemented("paper.cash must be in one currency in this build, was in several.")
    currency = currency_code(paper.cash[0].currency, "paper.cash[0].currency")
    cash = parse_decimal(paper.cash[0].amount.value, "paper.cash[0].amount")
    if cash < 0:
        text = f"must be at least 0, was {cash}"
        raise InvalidArgument(f"paper.cash {text}.", violations=[FieldViolation("paper.cash[0].amount", text)])
    _rules(paper, cash, currency)
    settings = {"paper": document(paper), "labels": labels, "initial_cash": format(cash, "f")}
    return Account(
        account_id=account_id, display_name=display_name or account_id, currency=currency, cash=cash, settings=settings
    )


def balance_message(account: Account) -> order_pb2.AccountBalance:
    """Return the cash of an account as a message."""
    return order_pb2.AccountBalance(
        account_id=account.account_id,
        currency=account.currency,
        total=decimal_message(account.cash),
        available=decimal_message(account.cash),
        locked=decimal_message(Decimal(0)),
        borrowed=decimal_message(max(Decimal(0), -account.cash)),
        update_time=timestamp(account.update_time),
    )


def account_message(account: Account, equity: Decimal | None = None, positions: int = 0) -> trading_pb2.Account:
    """Return an account as a message."""
    return trading_pb2.Account(
        account_id=account.account_id,
        display_name=account.display_name,
        labels=account.settings.get("labels", {}),
        kind=trading_pb2.ACCOUNT_KIND_PAPER,
        broker=PAPER,
        base_currency=account.currency,
        trading_enabled=True,
        paper=message_of(account.settings.get("paper", {}), trading_pb2.PaperSettings),
        state=trading_pb2.ACCOUNT_STATE_READY,
        balances=[balance_message(account)],
        equity=decimal_message(equity),
        positions=positions,
        open_orders=account.open_orders,
        instance_ids=list(account.instance_ids),
        etag=str(account.revision),
        create_time=timestamp(account.create_time),
        update_time=timestamp(account.update_time),
    )


def broker_message(account_ids: Sequence[str]) -> trading_pb2.Broker:
    """Return the paper broker as a message."""
    capabilities = trading_pb2.BrokerCapabilities(
        order_types=[number for number in order_pb2.OrderType.values() if number],
        times_in_force=[number for number in order_pb2.TimeInForce.values() if number],
        links_orders=True,
        reduce_only=True,
        post_only=True,
        finds_client_order_ids=True,
        streams_updates=True,
        short_selling=True,
        fractional_quantities=True,
    )
    return trading_pb2.Broker(
        name=PAPER,
        description="Fills orders on live prices by the rules of the back-test.",
        built_in=True,
        state=trading_pb2.BROKER_STATE_CONNECTED,
        capabilities=capabilities,
        account_ids=list(account_ids),
    )


def instrument_rules(symbol: str, quote: Quote, account: Account) -> trading_pb2.InstrumentRules:
    """Return what orders of an instrument on a paper account must keep to, as a message."""
    facts, rules = quote.facts, instrument_rules_of(quote.facts)
    asset_class = parse_asset_class(facts.asset_class) if facts.asset_class else None
    return trading_pb2.InstrumentRules(
        symbol=symbol,
        broker_symbol=symbol,
        asset_class=asset_class_to_proto(asset_class),
        exchange=facts.exchange,
        currency=facts.currency or account.currency,
        price_tick=decimal_message(rules.price_tick),
        quantity_step=decimal_message(rules.quantity_step),
        min_quantity=decimal_message(rules.min_quantity or rules.quantity_step),
        min_notional=decimal_message(rules.min_notional),
        multiplier=decimal_message(grid_of(facts).multiplier),
        shortable=market_rules(account).allow_short,
        tradable=True,
        order_types=[number for number in order_pb2.OrderType.values() if number],
        update_time=timestamp_ns(quote.time_ns) if quote.time_ns else None,
    )
