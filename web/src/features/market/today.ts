// The candle of the day that is not over yet, folded from its hours: daily bars of most vendors come after the close.

import type { Candle } from "./candles.ts";

export const DAY_S = 86_400;

/** Hours of one day as one candle; null when there is none. */
function folded(time: number, hours: Candle[]): Candle | null {
  const [first, last] = [hours[0], hours.at(-1)];
  if (!first || !last) return null;
  return {
    time,
    open: first.open,
    high: Math.max(...hours.map((hour) => hour.high)),
    low: Math.min(...hours.map((hour) => hour.low)),
    close: last.close,
    volume: hours.reduce((sum, hour) => sum + hour.volume, 0),
  };
}

/**
 * Daily candles, and behind them those of the days since that only hours tell of.
 * `days` and `hours` are in order of time. A day begins at the hour at which the last known one began.
 */
export function withToday(days: Candle[], hours: Candle[]): Candle[] {
  const last = days.at(-1);
  if (!last) return days;
  const later = new Map<number, Candle[]>();
  for (const hour of hours) {
    if (hour.time < last.time + DAY_S) continue;
    const day = last.time + Math.floor((hour.time - last.time) / DAY_S) * DAY_S;
    later.set(day, [...(later.get(day) ?? []), hour]);
  }
  const added = [...later].map(([time, own]) => folded(time, own)).filter((candle) => candle !== null);
  return added.length ? [...days, ...added] : days;
}

/**
 * Candles of `seconds` each, the newest one brought up to the minutes that have come since.
 * The DataHub forms bars that it saw from their begin: after a start in mid-hour the hour is told of by its minutes only.
 */
export function withMinutes(own: Candle[], minutes: Candle[], seconds: number): Candle[] {
  const [last, newest] = [own.at(-1), minutes.at(-1)];
  if (!last || !newest) return own;
  const begin = newest.time - (newest.time % seconds);
  const made = folded(
    begin,
    minutes.filter((minute) => minute.time >= begin),
  );
  if (!made || begin < last.time) return own;
  if (begin > last.time) return [...own, made];
  const { open, high, low, volume } = last;
  const joined = { ...made, open, high: Math.max(high, made.high), low: Math.min(low, made.low) };
  return [...own.slice(0, -1), { ...joined, volume: Math.max(volume, made.volume) }];
}
