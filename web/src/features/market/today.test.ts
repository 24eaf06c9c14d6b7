import { describe, expect, test } from "vitest";
import type { Candle } from "./candles.ts";
import { DAY_S, withMinutes, withToday } from "./today.ts";

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

describe("the newest candle", () => {
  const own = [hour(0, 1, 2, 1, 2), { ...hour(3600, 2, 4, 2, 3), volume: 25 }];

  test("takes up the minutes that have come since it was read", () => {
    const minutes = [hour(3540, 9, 99, 0, 9), hour(3600, 2, 3, 2, 3), hour(3660, 3, 7, 3, 5)];
    const joined = { time: 3600, open: 2, high: 7, low: 2, close: 5, volume: 25 };
    expect(withMinutes(own, minutes, 3600)).toEqual([own[0], joined]);
  });

  test("is begun by the minutes of the next one", () => {
    const found = withMinutes(own, [hour(7200, 3, 3, 3, 3), hour(7260, 3, 6, 3, 6)], 3600);
    expect(found.slice(2)).toEqual([{ time: 7200, open: 3, high: 6, low: 3, close: 6, volume: 20 }]);
  });

  test("stays without minutes, or with those of before", () => {
    expect(withMinutes(own, [], 3600)).toBe(own);
    expect(withMinutes(own, [hour(60, 1, 1, 1, 1)], 3600)).toBe(own);
  });
});
