"""Summaries of instances as messages."""

from __future__ import annotations

from quasar.rpc.wellknown import timestamp_ns
from quasar_proto.strategy.v1 import policy_pb2, strategy_pb2
from strategy_engine.instances.instances import Instance
from strategy_engine.instances.summaries import Summary
from strategy_engine.rpc.instance_messages import instance_message
from strategy_engine.rpc.values import message_of, money_message, number_of


def shown_instance(instance: Instance, summary: Summary) -> strategy_pb2.Instance:
    """Return an instance as it is shown: with its summary, and the version of the code that its 0 stands for."""
    message = instance_message(instance)
    message.code_version = summary.code_version
    message.summary.CopyFrom(summary_message(summary))
    return message


def summary_message(summary: Summary) -> strategy_pb2.InstanceSummary:
    """Return a summary as a message."""
    message = strategy_pb2.InstanceSummary(
        open_orders=summary.open_orders,
        fills_today=summary.fills_today,
        denials_today=summary.denials_today,
        trading_state=number_of(policy_pb2.TradingState, summary.trading_state.value, "TRADING_STATE_"),
        equity_sparkline=summary.sparkline,
    )
    if summary.last_data_ns:
        message.last_data_time.CopyFrom(timestamp_ns(summary.last_data_ns))
    if summary.last_signal is not None:
        message.last_signal.CopyFrom(message_of(summary.last_signal, strategy_pb2.Signal))
        message.last_signal_time.CopyFrom(timestamp_ns(summary.last_signal_ns))
    found = summary.worth
    if found is not None:
        message.positions = found.positions
        if found.drawdown is not None:
            message.drawdown = found.drawdown
        amounts = {
            "equity": found.equity,
            "day_pnl": found.day_pnl,
            "total_pnl": found.total_pnl,
            "realised_pnl": found.realised_pnl - found.commission,
            "unrealised_pnl": found.unrealised_pnl,
        }
        for name, amount in amounts.items():
            getattr(message, name).CopyFrom(money_message(amount, summary.currency))
    return message
