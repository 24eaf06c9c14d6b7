"""Back-tests between the messages of the contract and values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import any_pb2

from quasar.convert.plugin_terms import rules_of
from quasar.errors import FieldViolation, InvalidArgument, Unimplemented
from quasar.model.money import currency_code, parse_decimal
from quasar.ops.operations import OperationResult
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import duration, struct, timestamp
from quasar_proto.strategy.v1 import backtest_pb2, universe_pb2
from strategy_engine.backtests.records import LoadedSeries, ReadTerms
from strategy_engine.backtests.runner import Task
from strategy_engine.rpc.statistics_messages import statistics_message
from strategy_engine.rpc.universe_messages import loaded_message, wanted_series
from strategy_engine.rpc.values import document, instant_of, message_of, number_of
from strategy_engine.store.backtest_table import BacktestRow

MOST_WALL_S: Final = 3600.0
"""How long a back-test whose terms do not say may take."""
_LONG_FIGURES: Final = ("drawdowns", "monthly_returns", "yearly_returns", "symbols")


def completed_terms(terms: backtest_pb2.BacktestTerms, now: dt.datetime) -> backtest_pb2.BacktestTerms:
    """Return terms with every default filled in.

    Raises:
        InvalidArgument: The cash is not above 0, or the engine has no such model of execution.
        Unimplemented: The terms ask for what this build does not do.
    """
    full = backtest_pb2.BacktestTerms()
    full.CopyFrom(terms)
    full.cash.currency = currency_code(terms.cash.currency, "terms.cash.currency")
    if parse_decimal(terms.cash.amount.value, "terms.cash.amount") <= 0:
        raise _violation("terms.cash.amount", f"must be above 0, was {terms.cash.amount.value}")
    if not terms.range.HasField("end"):
        full.range.end.FromDatetime(now)
    full.gap_action = terms.gap_action or backtest_pb2.GAP_ACTION_WARN
    full.record_level = terms.record_level or backtest_pb2.RECORD_LEVEL_FULL
    for field, asked in (
        ("terms.other_cash", bool(terms.other_cash)),
        ("terms.benchmark", terms.HasField("benchmark")),
        ("terms.policy_ids", bool(terms.policy_ids)),
        ("terms.gap_action", full.gap_action != backtest_pb2.GAP_ACTION_WARN),
        ("terms.close_at_end", terms.close_at_end),
        ("terms.max_memory_bytes", bool(terms.max_memory_bytes)),
        ("terms.execution.market_rules.enforce", terms.execution.market_rules.enforce),
    ):
        if asked:
            raise Unimplemented(f"{field} must be left out in this build, was set.")
    rules_of(full)
    return full


def _violation(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])


def task_of(row: BacktestRow) -> Task:
    """Return what a stored back-test asks for."""
    terms = message_of(row.terms, backtest_pb2.BacktestTerms)
    universe = message_of(row.universe, universe_pb2.Universe)
    return Task(
        wanted=wanted_series(universe),
        read=read_terms(terms, universe),
        cash=parse_decimal(terms.cash.amount.value),
        currency=terms.cash.currency,
        calendar=terms.calendar,
        periods_per_year=terms.periods_per_year if terms.HasField("periods_per_year") else None,
        risk_free_rate=terms.risk_free_rate,
        record_level=terms.record_level,
        max_wall_s=terms.max_wall_time.ToNanoseconds() / 1e9 if terms.HasField("max_wall_time") else MOST_WALL_S,
    )


def read_terms(terms: backtest_pb2.BacktestTerms, universe: universe_pb2.Universe) -> ReadTerms:
    """Return which bars a back-test reads."""
    return ReadTerms(
        start=instant_of(terms.range, "start"),
        end=instant_of(terms.range, "end"),
        as_of=instant_of(terms, "as_of"),
        adjustment=universe.adjustment,
    )


def series_document(loaded: LoadedSeries) -> Mapping[str, Any]:
    """Return the record of a series that was read."""
    return document(loaded_message(loaded))


def backtest_message(row: BacktestRow, *, in_list: bool = False) -> backtest_pb2.Backtest:
    """Return a back-test as a message; in lists without the long figures."""
    message = backtest_pb2.Backtest(
        backtest_id=str(row.backtest_id),
        display_name=row.display_name,
        labels=row.labels,
        strategy=row.strategy,
        code_version=row.code_version,
        code_sha256=row.code_sha256,
        parameters=struct(row.parameters),
        universe=message_of(row.universe, universe_pb2.Universe),
        series=[message_of(each, universe_pb2.ResolvedSeries) for each in row.series],
        terms=message_of(row.terms, backtest_pb2.BacktestTerms),
        state=number_of(backtest_pb2.BacktestState, row.state.value, "BACKTEST_STATE_"),
        error=row.error,
        operation_id=str(row.operation_id or ""),
        sweep_id=str(row.sweep_id or ""),
        trial_number=row.trial_number,
        instance_id=row.instance_id,
        run_id=str(row.run_id or ""),
        findings=[message_of(each, backtest_pb2.BacktestFinding) for each in row.findings],
        data_sha256=row.data_sha256,
        engine_version=row.engine_version,
        timing=_timing(row.timing) if row.timing else None,
        actor=actor_message(row.actor),
        create_time=timestamp(row.create_time),
        start_time=timestamp(row.start_time),
        end_time=timestamp(row.end_time),
    )
    if row.statistics is not None:
        shown = {name: value for name, value in row.statistics.items() if not (in_list and name in _LONG_FIGURES)}
        message.statistics.CopyFrom(statistics_message(shown))
    return message


def _timing(timing: Mapping[str, Any]) -> backtest_pb2.BacktestTiming:
    return backtest_pb2.BacktestTiming(
        load_time=duration(timing.get("load_s")),
        run_time=duration(timing.get("run_s")),
        store_time=duration(timing.get("store_s")),
        bars_per_second=timing.get("bars_per_second", 0.0),
        peak_memory_bytes=timing.get("peak_memory_bytes", 0),
    )


def operation_result(row: BacktestRow) -> OperationResult:
    """Return a back-test as the result of its operation; the summary is for readers without the message's type."""
    message = backtest_message(row)
    packed = any_pb2.Any()
    packed.Pack(message)
    trades = (row.statistics or {}).get("trades", 0)
    return OperationResult({"backtest_id": str(row.backtest_id), "trades": trades}, packed.type_url, packed.value)
