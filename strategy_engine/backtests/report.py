"""A report of a back-test for people: one HTML file that refers to nothing outside of itself. Pure."""

from __future__ import annotations

import datetime as dt
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from strategy_engine.backtests.records import Document, EquityColumns

_WIDTH, _HEIGHT, _MOST_POINTS = 960, 280, 1_500
_INSTANTS: Final = frozenset({"start_time", "end_time"})
_TRADE_FIELDS: Final = (
    ("symbol", "Symbol"),
    ("side", "Side"),
    ("quantity", "Quantity"),
    ("entry_time", "Entry"),
    ("entry_price", "Entry price"),
    ("exit_time", "Exit"),
    ("exit_price", "Exit price"),
    ("net_profit", "Net profit"),
)
_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#1b2430}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}p{color:#56606d}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid #e3e7ec;text-align:left}td:last-child{text-align:right}
.figures{columns:2;column-gap:2rem}.figures div{display:flex;justify-content:space-between;break-inside:avoid;
border-bottom:1px solid #e3e7ec;padding:.2rem 0}svg{width:100%;height:auto;background:#f7f9fb}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report tells."""

    title: str
    subtitle: str
    currency: str
    figures: Mapping[str, Any]
    """By their names in the contract's `Statistics`: times in nanoseconds, durations in seconds; lists are left out."""
    curve: EquityColumns
    trades: Sequence[Document] | None
    """In the JSON form of the contract; None: no list of trades."""
    trades_total: int = 0

    def html(self) -> str:
        """Return the report as HTML; everything that came from users is escaped."""
        title = html.escape(self.title)
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{html.escape(self.subtitle)}</p>"
            f"<h2>Equity ({html.escape(self.currency)})</h2>{_chart(self.curve)}"
            f'<h2>Figures</h2><div class="figures">{_figures(self.figures)}</div>'
            f"{_trades(self.trades, self.trades_total)}</body></html>"
        )


def _chart(curve: EquityColumns) -> str:
    values = curve.columns.get("equity", np.empty(0))
    if not len(values):
        return "<p>No equity was recorded.</p>"
    # Evenly, first and last included.
    rows = np.linspace(0, len(values) - 1, min(len(values), _MOST_POINTS)).astype(np.int64)
    shown = values[rows]
    low, high = float(shown.min()), float(shown.max())
    across = np.linspace(0.0, _WIDTH, len(shown))
    down = (high - shown) / ((high - low) or 1.0) * (_HEIGHT - 40) + 20
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    first, last = (_instant(int(curve.time_ns[index]))[:10] for index in (0, -1))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Equity from {first} to {last}">'
        f'<polyline points="{points}" fill="none" stroke="#1664c0" stroke-width="1.5"/>'
        f'<text x="4" y="14" font-size="12">{high:,.2f}</text>'
        f'<text x="4" y="{_HEIGHT - 4}" font-size="12">{low:,.2f} · {first} to {last}</text></svg>'
    )


def _figures(figures: Mapping[str, Any]) -> str:
    rows = []
    for name, value in figures.items():
        if value is None or isinstance(value, list | dict):
            continue
        words = html.escape(name.replace("_", " ").capitalize())
        rows.append(f"<div><span>{words}</span><b>{html.escape(_figure(name, value))}</b></div>")
    return "".join(rows)


def _figure(name: str, value: Any) -> str:
    if name in _INSTANTS:
        return _instant(int(value))
    if "duration" in name:
        return str(dt.timedelta(seconds=round(float(value))))
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _instant(time_ns: int) -> str:
    return dt.datetime.fromtimestamp(time_ns // 10**9, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _trades(trades: Sequence[Document] | None, total: int) -> str:
    if trades is None:
        return ""
    count = f"{total:,}" if total == len(trades) else f"the first {len(trades):,} of {total:,}"
    head = "".join(f"<th>{words}</th>" for _, words in _TRADE_FIELDS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(trade.get(name)))}</td>" for name, _ in _TRADE_FIELDS) + "</tr>"
        for trade in trades
    )
    return f"<h2>Trades: {count}</h2><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return str(value.get("value", ""))
    return str(value).removeprefix("POSITION_SIDE_")
