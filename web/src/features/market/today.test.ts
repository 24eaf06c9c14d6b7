import { describe, expect, test } from "vitest";
import type { Candle } from "./candles.ts";
import { DAY_S, withToday } from "./today.ts";

const hour = (time: number, open: number, high: number, low: number, close: number): Candle => ({
  time,
  open,
  high,
  low,
  close,
  volume: 10,
});

describe("the day that is not over", () => {
  const days = [hour(0, 1, 2, 1, 2)];

  test("is folded from its hours, and hours of days that are known count for nothing", () => {
    const hours = [hour(DAY_S - 3600, 9, 99, 9, 9), hour(DAY_S, 2, 5, 2, 4), hour(DAY_S + 3600, 4, 4, 1, 3)];
    expect(withToday(days, hours)).toEqual([days[0], { time: DAY_S, open: 2, high: 5, low: 1, close: 3, volume: 20 }]);
  });

  test("begins at the hour at which the last day began", () => {
    const session = [hour(14 * 3600, 1, 2, 1, 2)];
    const found = withToday(session, [hour(DAY_S + 13 * 3600, 7, 7, 7, 7), hour(DAY_S + 14 * 3600, 3, 3, 3, 3)]);
    expect(found.map((candle) => [candle.time, candle.close])).toEqual([
      [14 * 3600, 2],
      [DAY_S + 14 * 3600, 3],
    ]);
  });

  test("adds nothing where there are no hours, or no day to go on from", () => {
    expect(withToday(days, [])).toBe(days);
    expect(withToday([], [hour(0, 1, 1, 1, 1)])).toEqual([]);
  });
});
