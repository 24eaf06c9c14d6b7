"""Instances, runs and their events between messages and values."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from google.protobuf import json_format

from quasar.errors import FieldViolation, InvalidArgument, Unimplemented
from quasar.model.money import currency_code, parse_decimal
from quasar.ops.actors import Actor
from quasar.rpc.ops.actors import actor_message
from quasar.rpc.wellknown import struct, timestamp, timestamp_ns
from quasar_proto.ops.v1 import event_pb2
from quasar_proto.strategy.v1 import backtest_pb2, strategy_pb2, universe_pb2
from strategy_engine.instances.instances import Instance
from strategy_engine.rpc.account_messages import PAPER
from strategy_engine.rpc.values import decimal_message, document, message_of, money_message, number_of, plain
from strategy_engine.store.actors import actor_of

_PAYLOADS: Final = {
    "STATE": "state",
    "INTENT": "intent",
    "ORDER": "order",
    "FILL": "fill",
    "POSITION": "position",
    "LOG": "log",
    "SIGNAL": "signal",
    "TRADING_STATE": "trading_state",
}


def instance_of(message: strategy_pb2.Instance, actor: Actor | None) -> Instance:
    """Return an instance that is to be written.

    Raises:
        InvalidArgument: There is no account, or the capital is not above 0.
        Unimplemented: The mode is not PAPER, or something is set that this build does not do.
    """
    if message.mode != strategy_pb2.TRADING_MODE_PAPER:
        raise Unimplemented("instance.mode must be PAPER in this build, was another one.")
    if message.schedule.WhichOneof("rule") not in (None, "always"):
        raise Unimplemented("instance.schedule must be left out in this build, was set.")
    universe = message.universe
    for field, asked in (
        ("schedule.end_action", bool(message.schedule.end_action)),
        ("restart_policy", message.HasField("restart_policy")),
        ("limits", message.HasField("limits")),
        ("backtest_terms", message.HasField("backtest_terms")),
        ("universe.subscribe_missing", universe.subscribe_missing),
        ("universe.follow_changes", universe.follow_changes),
    ):
        if asked:
            raise Unimplemented(f"instance.{field} must be left out in this build, was set.")
    if not message.account_id:
        raise _violation("instance.account_id", "must be a paper account, was empty")
    capital = None
    if message.HasField("capital"):
        capital = parse_decimal(message.capital.amount.value, "instance.capital.amount")
        if capital <= 0:
            raise _violation("instance.capital.amount", f"must be above 0, was {capital}")
    return Instance(
        instance_id=message.instance_id,
        display_name=message.display_name or message.instance_id,
        description=message.description,
        labels=dict(message.labels),
        strategy=message.strategy,
        code_version=message.code_version,
        parameters=plain(message.parameters),
        universe=document(message.universe),
        account_id=message.account_id,
        capital=capital,
        capital_currency=currency_code(message.capital.currency) if capital is not None else "",
        seed=message.seed,
        actor=actor,
    )


def _violation(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(f"{field} {description}.", violations=[FieldViolation(field, description)])


def instance_message(instance: Instance) -> strategy_pb2.Instance:
    """Return an instance as a message."""
    return strategy_pb2.Instance(
        instance_id=instance.instance_id,
        display_name=instance.display_name,
        description=instance.description,
        labels=instance.labels,
        strategy=instance.strategy,
        code_version=instance.code_version,
        mode=strategy_pb2.TRADING_MODE_PAPER,
        parameters=struct(instance.parameters),
        universe=message_of(instance.universe, universe_pb2.Universe),
        account_id=instance.account_id,
        broker=PAPER,
        capital=money_message(instance.capital, instance.capital_currency),
        seed=instance.seed,
        enabled=instance.enabled,
        state=number_of(strategy_pb2.InstanceState, instance.state.value, "INSTANCE_STATE_"),
        state_text=instance.state_text,
        state_time=timestamp(instance.state_time),
        run_id=str(instance.run_id or ""),
        last_run_id=str(instance.last_run_id or ""),
        etag=str(instance.revision),
        creator=actor_message(instance.actor),
        create_time=timestamp(instance.create_time),
        update_time=timestamp(instance.update_time),
        restart_needed=instance.restart_needed,
    )


def run_message(row: Any, *, in_list: bool = False) -> strategy_pb2.Run:
    """Return a run as a message; in lists without its series."""
    return strategy_pb2.Run(
        run_id=str(row["run_id"]),
        instance_id=row["instance_id"] or "",
        run_number=row["run_number"],
        mode=number_of(strategy_pb2.TradingMode, row["mode"], "TRADING_MODE_"),
        strategy=row["strategy"],
        code_version=row["code_version"],
        code_sha256=row["code_sha256"],
        parameters=struct(row["parameters"]),
        series=[] if in_list else [message_of(each, universe_pb2.ResolvedSeries) for each in row["series"]],
        account_id=row["account_id"] or "",
        broker=row["broker"],
        capital=money_message(row["capital"], row["capital_currency"] or ""),
        seed=int(row["seed"]),
        state=number_of(strategy_pb2.RunState, row["state"], "RUN_STATE_"),
        state_text=row["state_text"],
        restarts=row["restarts"],
        last_sequence=row["event_sequence"],
        metrics=metrics_message(row),
        actor=actor_message(actor_of(row["started_by"])),
        start_time=timestamp(row["started_at"]),
        ready_time=timestamp(row["ready_at"]),
        end_time=timestamp(row["finished_at"]),
    )


def metrics_message(row: Any) -> strategy_pb2.RunMetrics:
    """Return the figures of a run as a message."""
    stored = row["metrics"]
    message = strategy_pb2.RunMetrics(
        bars=stored.get("bars", 0),
        intents=stored.get("intents", 0),
        signals=stored.get("signals", 0),
        ticks=stored.get("ticks", 0),
        errors=stored.get("errors", 0),
        commission=decimal_message(row["commission"]),
        orders=row["orders"],
        open_orders=row["open_orders"],
        denied_orders=row["denied_orders"],
        rejected_orders=row["rejected_orders"],
        fills=row["fills"],
    )
    if stored.get("last_data_ns"):
        message.last_data_time.CopyFrom(timestamp_ns(stored["last_data_ns"]))
    return message


def add_marks(message: strategy_pb2.RunMetrics, marks: Any) -> None:
    """Add what the marks of its equity say to the figures of a run; None: it was never marked."""
    if marks is None:
        return
    message.time.CopyFrom(timestamp(marks["time"]))  # type: ignore[arg-type]  # it is set
    message.equity.CopyFrom(money_message(marks["equity"], marks["currency"]))  # type: ignore[arg-type]  # it is set
    start = marks["day_start"] if marks["day_start"] is not None else marks["initial"]
    amounts = {
        "cash": marks["cash"],
        "realised_pnl": marks["realised_pnl"],
        "unrealised_pnl": marks["unrealised_pnl"],
        "gross_exposure": marks["gross_exposure"],
        "net_exposure": marks["net_exposure"],
        "day_pnl": marks["equity"] - start,
        "peak_equity": marks["peak"],
    }
    for name, amount in amounts.items():
        if amount is not None:
            getattr(message, name).CopyFrom(decimal_message(amount))
    if marks["peak"] > 0:
        message.drawdown = float(marks["equity"] / marks["peak"] - 1)
        message.max_drawdown = float(marks["max_drawdown"])


def telemetry_entry(run_id: str, row: Any) -> strategy_pb2.TelemetryEntry:
    """Return an event of a run as a message; a payload of a later build is left out."""
    data = row["data"]
    kind = data.get("telemetry", "STATE")
    entry = strategy_pb2.TelemetryEntry(
        run_id=run_id,
        sequence=row["run_sequence"],
        record_time=timestamp(row["time"]),
        severity=number_of(event_pb2.Severity, row["severity"], "SEVERITY_"),
        kind=number_of(strategy_pb2.TelemetryKind, kind, "TELEMETRY_KIND_"),
    )
    if "event_time" in data:
        entry.event_time.FromDatetime(dt.datetime.fromisoformat(data["event_time"]).astimezone(dt.UTC))
    field = _PAYLOADS.get(kind)
    if field is not None:
        json_format.ParseDict(data.get("payload", {}), getattr(entry, field), ignore_unknown_fields=True)
    return entry


def log_line(row: Any) -> backtest_pb2.LogLine:
    """Return an event that tells of a line as that line."""
    payload = row["data"].get("payload", {})
    line = backtest_pb2.LogLine(
        sequence=row["line"],
        record_time=timestamp(row["time"]),
        level=payload.get("level", "info"),
        message=payload.get("message", ""),
        place=payload.get("place", ""),
    )
    line.event_time.FromDatetime(dt.datetime.fromisoformat(row["data"]["event_time"]).astimezone(dt.UTC))
    return line
