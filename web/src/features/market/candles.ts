// Bars as the chart takes them, and how live bars change what is drawn. Pure, so that it can be tested without a chart.

import type { Bar, BarChunk } from "@quasar/client/datahub/v1/market_data";
import { timestampDate } from "@bufbuild/protobuf/wkt";

/** One candle; `time` in seconds since 1970 UTC, as the chart wants it. */
export interface Candle {
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

const NS_PER_SECOND = 1_000_000_000n;

/** The candle of a stored bar; null when the bar holds no price (a slot without trades). */
export function candleOf(bar: Bar): Candle | null {
  if (!bar.openTime || bar.open === undefined || bar.close === undefined) return null;
  return {
    time: Math.floor(timestampDate(bar.openTime).getTime() / 1000),
    open: bar.open,
    high: bar.high ?? Math.max(bar.open, bar.close),
    low: bar.low ?? Math.min(bar.open, bar.close),
    close: bar.close,
    volume: bar.volume ?? 0,
  };
}

/** The candles of a chunk of columns, in its order; rows without a price are left out. */
export function candlesOf(chunk: BarChunk): Candle[] {
  const candles: Candle[] = [];
  chunk.openTimeNs.forEach((at, i) => {
    const [open, high, low, close] = [chunk.open[i], chunk.high[i], chunk.low[i], chunk.close[i]];
    if (open === undefined || high === undefined || low === undefined || close === undefined || Number.isNaN(open))
      return;
    const volume = chunk.volume[i];
    candles.push({
      time: Number(at / NS_PER_SECOND),
      open,
      high,
      low,
      close,
      volume: volume === undefined || Number.isNaN(volume) ? 0 : volume,
    });
  });
  return candles;
}

/**
 * The candles to update one by one so that `before` becomes `after`: the newest one, and one that follows it.
 * Null when more than that differs; everything before the newest one is the same object as long as nothing else changed.
 */
export function changes(before: Candle[], after: Candle[]): Candle[] | null {
  const newest = before.length - 1;
  const added = after.length - before.length;
  if (newest < 1 || added < 0 || added > 1 || after[newest - 1] !== before[newest - 1]) return null;
  return after[newest] === before[newest] && added === 0 ? [] : after.slice(newest);
}

/**
 * Candles with others put in: in order of time, one for each time, the newer one wins.
 * `base` must be in order already; that keeps the usual case (one candle at the end) cheap.
 */
export function merged(base: Candle[], added: Candle[]): Candle[] {
  let result = base;
  for (const candle of added) {
    const last = result.at(-1);
    if (!last || candle.time > last.time) result = [...result, candle];
    else if (candle.time === last.time) result = [...result.slice(0, -1), candle];
    else {
      const rest = result.filter((other) => other.time !== candle.time);
      const place = rest.findIndex((other) => other.time > candle.time);
      result = place === -1 ? [...rest, candle] : [...rest.slice(0, place), candle, ...rest.slice(place)];
    }
  }
  return result;
}
