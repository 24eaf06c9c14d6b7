import { expect, test } from "vitest";
import { lastOfEach } from "./equity.tsx";

const point = (time: number, equity: number) => ({ time, equity, drawdown: 0 });

test("of points within one second the last one is drawn, and what is no number is not", () => {
  const points = [point(1, 10), point(1, 11), point(2, 12), point(3, Number.NaN), point(4, 13)];
  expect(lastOfEach(points).map(({ time, equity }) => [time, equity])).toEqual([
    [1, 11],
    [2, 12],
    [4, 13],
  ]);
});
