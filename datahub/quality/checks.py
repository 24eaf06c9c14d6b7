"""What makes bars suspicious, as pure functions over columns.

Outliers are measured against median and median absolute deviation (Hampel 1974; Rousseeuw & Croux 1993), which the
outliers themselves cannot move: 1.4826 times the deviation estimates the standard deviation of normal values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from datahub.quality.findings import Check, Finding
from datahub.quality.sample import Sample
from quasar.model.columns import FloatArray, Int64Array
from quasar.model.instants import from_ns
from quasar.model.intervals import Interval

BEFORE = 100
"""Bars before a bar that say what is usual for it."""
_NEEDED = 20
"""Fewer values say nothing about what is usual."""
_MAD_TO_SIGMA = 1.4826
_SPIKE_SIGMAS, _SPIKE_FLOOR = 8.0, 0.0025
_TURNS_BACK = 0.5
"""A spike takes back at least this share of its return with the next bar; a jump that stays keeps as much."""
_TRADES_USUALLY = 0.95
_STALE_LEAST, _STALE_LEAST_DATED, _STALE_TIMES_USUAL = 10, 5, 3.0
_APART_SIGMAS, _APART_FLOOR, _APART_OFFSET = 8.0, 0.005, 0.02
_JUMP_SIGMAS, _JUMP_FLOOR, _EXPLAINED = 8.0, 0.15, 0.05
_TICKS_APART = 1e-9

Mask = npt.NDArray[np.bool_]


def missing(slots_ns: Int64Array, dates_ns: Int64Array, interval: Interval, neighbours: Int64Array) -> list[Finding]:
    """Return the stretches of expected slots that nothing is known of.

    Args:
        slots_ns: Open times of the missing slots, ascending.
        dates_ns: The date of each one's session.
        interval: The interval of the series.
        neighbours: Place of each slot among all expected ones: those in a row are one finding.
    """
    parted = (np.diff(neighbours) != 1) | (np.diff(dates_ns) != 0)
    return [
        Finding(
            check=Check.MISSING,
            date_ns=int(dates_ns[first]),
            start_ns=int(slots_ns[first]),
            end_ns=interval.next_boundary_ns(int(slots_ns[last])),
            bars=last - first + 1,
            message=f"{_counted(last - first + 1, 'expected bar')} missing from {_told(slots_ns[first])}.",
        )
        for first, last in _runs(len(slots_ns), parted)
    ]


def zero_volume(sample: Sample) -> list[Finding]:
    """Return bars whose volume is 0 although the price moved, or where the series usually trades."""
    none = sample.volume == 0
    if not none.any():
        return []
    before = np.concatenate([[np.nan], sample.close[:-1]])
    moved = (sample.high != sample.low) | (np.isfinite(before) & (sample.close != before))
    told = np.isfinite(sample.volume)
    traded = _sum_before(told & ~none)
    known = _sum_before(told)
    usual = (known >= _NEEDED) & (traded >= _TRADES_USUALLY * known)
    found = none & (moved | usual) & sample.checked
    return [
        _over(
            sample,
            first,
            last,
            Check.ZERO_VOLUME,
            f"{_counted(last - first + 1, 'bar')} without volume from {_told(sample.open_time_ns[first])} "
            f"{'although the price moved' if bool(moved[first]) else 'where the series usually trades'}.",
            observed=0.0,
        )
        for first, last in _marked(sample, found)
    ]


def spikes(sample: Sample) -> list[Finding]:
    """Return bars whose return lies far outside what is usual for the 100 bars before, and turns back."""
    if len(sample) < _NEEDED + 2:
        return []
    returns = _returns(sample.close)
    following = np.append(returns[1:], np.nan)
    with np.errstate(invalid="ignore"):
        back = (returns * following < 0) & (np.abs(following) >= _TURNS_BACK * np.abs(returns))
        candidates = np.flatnonzero(back & (np.abs(returns) > _SPIKE_FLOOR) & sample.checked)
    findings: list[Finding] = []
    for place in candidates.tolist():
        usual = returns[max(1, place - BEFORE) : place]
        usual = usual[np.isfinite(usual)]
        if len(usual) < _NEEDED:
            continue
        middle, sigma = _robust(usual)
        limit = max(_SPIKE_SIGMAS * sigma, _SPIKE_FLOOR)
        # The way back from a spike is as far out as the way to it, and often turns again.
        if abs(returns[place] - middle) <= limit or _comes_back(findings, sample, place, returns):
            continue
        percent = float(np.expm1(returns[place])) * 100
        text = (
            f"The close of {_told(sample.open_time_ns[place])} is {percent:+.2f} % off the bar before and turns back."
        )
        found = _over(sample, place, place, Check.SPIKE, text)
        findings.append(replace(found, observed=float(returns[place]), expected=middle, limit=limit))
    return findings


def stale(sample: Sample, interval: Interval) -> list[Finding]:
    """Return runs of bars that repeat the same four prices for longer than is usual for the series."""
    if len(sample) < 2:
        return []
    same = np.ones(len(sample) - 1, dtype=np.bool_)
    for column in (sample.open, sample.high, sample.low, sample.close):
        same &= column[1:] == column[:-1]
    dated = interval.is_time and interval.is_dated
    if not dated:
        same &= sample.date_ns[1:] == sample.date_ns[:-1]
    runs = list(_runs(len(sample), ~same))
    lengths = np.array([last - first + 1 for first, last in runs])
    least = _STALE_LEAST_DATED if dated else _STALE_LEAST
    # What is usual is told by the series itself; a few long runs do not make long runs usual.
    limit = max(float(least), _STALE_TIMES_USUAL * float(np.percentile(lengths, 90)))
    return [
        replace(
            _over(
                sample,
                first,
                last,
                Check.STALE,
                f"{last - first + 1} bars repeat the same four prices from {_told(sample.open_time_ns[first])}.",
            ),
            observed=float(last - first + 1),
            limit=limit,
        )
        for first, last in runs
        if last - first + 1 > limit and sample.checked[first]
    ]


def unexplained_jumps(sample: Sample) -> list[Finding]:
    """Return jumps at a session's open that match no known split or dividend and stay."""
    opens = np.flatnonzero(np.diff(sample.date_ns) != 0) + 1
    if not len(opens):
        return []
    before, opened, closed = sample.close[opens - 1], sample.open[opens], sample.close[opens]
    jumps, stays = _logs(opened, before), _logs(closed, before)
    finite = np.isfinite(jumps)
    middle, sigma = _robust(jumps[finite]) if finite.sum() >= _NEEDED else (0.0, 0.0)
    limit = max(_JUMP_SIGMAS * sigma, _JUMP_FLOOR)
    with np.errstate(invalid="ignore", divide="ignore"):
        far = finite & (np.abs(jumps - middle) > limit)
        kept = (np.sign(stays) == np.sign(jumps)) & (np.abs(stays) >= _TURNS_BACK * np.abs(jumps))
        split = np.where(sample.split_factor[opens] > 0, -np.log(sample.split_factor[opens]), 0.0)
        paid = np.where(np.isfinite(sample.dividend[opens]), np.log1p(-sample.dividend[opens] / before), 0.0)
    unexplained = np.abs(jumps - np.nan_to_num(split) - np.nan_to_num(paid)) > max(_EXPLAINED, limit / 2)
    found = np.flatnonzero(far & kept & unexplained & sample.checked[opens])
    findings = []
    for row in found.tolist():
        place, percent = int(opens[row]), float(np.expm1(jumps[row])) * 100
        text = f"The open of {_told(sample.open_time_ns[place])} is {percent:+.1f} % off the close before, unexplained."
        found_here = _over(sample, place, place, Check.UNEXPLAINED_JUMP, text)
        findings.append(replace(found_here, observed=float(jumps[row]), expected=middle, limit=limit))
    return findings


def disagreement(sample: Sample, times_ns: Int64Array, closes: FloatArray, other: int, name: str) -> list[Finding]:
    """Return bars whose close differs from another provider's by more than is usual for the pair.

    A lasting difference of up to 2 % is usual (another quote currency, another session); a greater one never is.

    Args:
        sample: The bars.
        times_ns: Open times of the other's bars, ascending.
        closes: Their closes.
        other: The other series.
        name: Its name, for people.
    """
    if not len(times_ns) or not len(sample):
        return []
    places = np.minimum(np.searchsorted(times_ns, sample.open_time_ns), len(times_ns) - 1)
    apart = _logs(sample.close, np.where(times_ns[places] == sample.open_time_ns, closes[places], np.nan))
    common = np.isfinite(apart)
    if not common.any():
        return []
    middle, sigma = _robust(apart[common]) if common.sum() >= _NEEDED else (0.0, 0.0)
    middle = middle if abs(middle) <= _APART_OFFSET else 0.0
    limit = max(_APART_SIGMAS * min(sigma, _APART_OFFSET), _APART_FLOOR)
    with np.errstate(invalid="ignore"):
        found = common & (np.abs(apart - middle) > limit) & sample.checked
    findings = []
    for first, last in _marked(sample, found):
        worst = first + int(np.argmax(np.abs(apart[first : last + 1] - middle)))
        percent = float(np.expm1(apart[worst])) * 100
        text = f"{_counted(last - first + 1, 'close')} up to {percent:+.2f} % off {name} from "
        text += f"{_told(sample.open_time_ns[first])}."
        one = _over(sample, first, last, Check.PROVIDER_DISAGREEMENT, text, other_series_id=other)
        findings.append(replace(one, observed=float(apart[worst]), expected=middle, limit=limit))
    return findings


def tick_disagreement(sample: Sample, built: Sample) -> list[Finding]:
    """Return bars that a provider pushed which differ from those built from its ticks.

    Args:
        sample: The provider's bars.
        built: Those built from ticks.
    """
    _, ours, theirs = np.intersect1d(sample.open_time_ns, built.open_time_ns, assume_unique=True, return_indices=True)
    apart = np.zeros(len(ours))
    for name in ("open", "high", "low", "close"):
        apart = np.maximum(apart, np.abs(_logs(getattr(sample, name)[ours], getattr(built, name)[theirs])))
    found = np.zeros(len(sample), dtype=np.bool_)
    found[ours] = apart > _TICKS_APART
    worst = np.zeros(len(sample))
    worst[ours] = apart
    findings = []
    for first, last in _marked(sample, found & sample.checked):
        most = float(worst[first : last + 1].max())
        text = (
            f"{_counted(last - first + 1, 'bar')} up to {np.expm1(most) * 100:.4f} % off those built from ticks from "
        )
        text += f"{_told(sample.open_time_ns[first])}."
        one = _over(sample, first, last, Check.TICK_DISAGREEMENT, text)
        findings.append(replace(one, observed=most, expected=0.0, limit=_TICKS_APART))
    return findings


def _comes_back(findings: list[Finding], sample: Sample, place: int, returns: FloatArray) -> bool:
    """Tell whether a bar only takes back the spike of the bar before it."""
    if not findings or findings[-1].start_ns != int(sample.open_time_ns[place - 1]):
        return False
    return bool(returns[place] * returns[place - 1] < 0)


def _returns(closes: FloatArray) -> FloatArray:
    """Return the logarithmic return of each bar; NaN for the first and where a price is not positive."""
    return np.concatenate([[np.nan], _logs(closes[1:], closes[:-1])])


def _logs(values: FloatArray, others: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(values / others)
    return np.where(np.isfinite(logs), logs, np.nan)


def _robust(values: FloatArray) -> tuple[float, float]:
    """Return the median and the deviation as a standard deviation."""
    middle = float(np.median(values))
    return middle, _MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))


def _sum_before(marks: Mask) -> Int64Array:
    """Return for each bar how many of the 100 before it are marked."""
    sums = np.concatenate([[0], np.cumsum(marks)])
    places = np.arange(len(marks))
    return np.asarray(sums[places] - sums[np.maximum(places - BEFORE, 0)], dtype=np.int64)


def _marked(sample: Sample, marks: Mask) -> Iterator[tuple[int, int]]:
    """Yield first and last place of neighbouring marked bars of one session."""
    parted = ~marks[1:] | ~marks[:-1] | (np.diff(sample.date_ns) != 0)
    return ((first, last) for first, last in _runs(len(sample), parted) if marks[first])


def _runs(length: int, parted: Mask) -> Iterator[tuple[int, int]]:
    """Yield first and last place of each run; `parted` says where a run ends before the last place."""
    if not length:
        return
    ends = np.append(np.flatnonzero(parted), length - 1).tolist()
    first = 0
    for end in ends:
        yield first, end
        first = end + 1


def _over(
    sample: Sample,
    first: int,
    last: int,
    check: Check,
    message: str,
    *,
    observed: float | None = None,
    other_series_id: int | None = None,
) -> Finding:
    return Finding(
        check=check,
        date_ns=int(sample.date_ns[first]),
        start_ns=int(sample.open_time_ns[first]),
        end_ns=max(int(sample.close_time_ns[last]), int(sample.open_time_ns[last]) + 1_000),
        bars=last - first + 1,
        observed=observed,
        other_series_id=other_series_id,
        message=message,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _told(time_ns: np.int64) -> str:
    return f"{from_ns(int(time_ns)):%Y-%m-%d %H:%M} UTC"
