import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { BarChunkSchema, BarSchema } from "@quasar/client/datahub/v1/market_data";
import { describe, expect, test } from "vitest";
import { candleOf, candlesOf, changes, merged, type Candle } from "./candles.ts";

const candle = (time: number, close: number): Candle => ({ time, open: 1, high: 2, low: 0.5, close, volume: 3 });

describe("candles", () => {
  test("a bar without a price draws nothing", () => {
    expect(candleOf(create(BarSchema, { openTime: timestampFromMs(60_000) }))).toBeNull();
  });

  test("a stored bar keeps its open time in seconds", () => {
    const bar = create(BarSchema, {
      openTime: timestampFromMs(120_500),
      open: 1,
      high: 3,
      low: 1,
      close: 2,
      volume: 5,
    });
    expect(candleOf(bar)).toEqual({ time: 120, open: 1, high: 3, low: 1, close: 2, volume: 5 });
  });

  test("columns become candles and rows of NaN are left out", () => {
    const chunk = create(BarChunkSchema, {
      openTimeNs: [60_000_000_000n, 120_000_000_000n],
      open: [1, Number.NaN],
      high: [2, Number.NaN],
      low: [0.5, Number.NaN],
      close: [1.5, Number.NaN],
      volume: [Number.NaN, Number.NaN],
    });
    expect(candlesOf(chunk)).toEqual([{ time: 60, open: 1, high: 2, low: 0.5, close: 1.5, volume: 0 }]);
  });

  test("the forming candle replaces itself and a new one follows", () => {
    const base = [candle(60, 1), candle(120, 2)];
    const next = merged(base, [candle(120, 2.5), candle(180, 3)]);
    expect(next.map(({ time, close }) => [time, close])).toEqual([
      [60, 1],
      [120, 2.5],
      [180, 3],
    ]);
    expect(next[0]).toBe(base[0]);
  });

  test("a late revision lands in its place and nothing is drawn twice", () => {
    const next = merged([candle(60, 1), candle(180, 3)], [candle(120, 2), candle(60, 1.1), candle(30, 0)]);
    expect(next.map(({ time, close }) => [time, close])).toEqual([
      [30, 0],
      [60, 1.1],
      [120, 2],
      [180, 3],
    ]);
  });
});

describe("what a chart has to draw", () => {
  const [a, b, c] = [candle(60, 1), candle(120, 2), candle(180, 3)];

  test("nothing, when nothing is new", () => {
    expect(changes([a, b], [a, b])).toEqual([]);
  });

  test("the newest candle as it is now, and the one that follows it", () => {
    const moved = candle(120, 2.5);
    expect(changes([a, b], [a, moved])).toEqual([moved]);
    expect(changes([a, b], [a, b, c])).toEqual([b, c]);
  });

  test("everything, when more than the end differs", () => {
    expect(changes([], [a])).toBeNull();
    expect(changes([a, b], [candle(60, 9), b])).toBeNull();
    expect(changes([a, b, c], [a, b])).toBeNull();
    expect(changes([a], [a, b, c])).toBeNull();
  });
});
