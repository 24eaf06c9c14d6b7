import { AreaSeries, createChart, LineSeries, type Time } from "lightweight-charts";
import { useEffect, useRef } from "react";
import { price } from "../../lib/format.ts";
import { chartColours, colour, useTheme } from "../../ui/theme.ts";
import type { EquityPoint } from "./backtest.tsx";

/** The last point of each second: the chart takes no two of one time, and bars of ticks close as often as they like. */
export function lastOfEach(points: EquityPoint[]): EquityPoint[] {
  return points.filter((point, i) => point.time !== points[i + 1]?.time && !Number.isNaN(point.equity));
}

/** Equity above, drawdown from its peak below. */
export function EquityChart({ points }: { points: EquityPoint[] }) {
  const holder = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  useEffect(() => {
    if (!holder.current) return;
    const chart = createChart(holder.current, {
      autoSize: true,
      ...chartColours(),
    });
    const equity = chart.addSeries(LineSeries, { color: colour("--accent"), lineWidth: 2 });
    const drawdown = chart.addSeries(
      AreaSeries,
      {
        lineColor: colour("--down"),
        topColor: "transparent",
        bottomColor: colour("--down"),
        priceFormat: { type: "custom", formatter: (value: number) => `${(100 * value).toFixed(1)} %` },
      },
      1,
    );
    const seconds = lastOfEach(points);
    equity.setData(seconds.map((point) => ({ time: point.time as Time, value: point.equity })));
    drawdown.setData(
      seconds
        .filter((point) => !Number.isNaN(point.drawdown))
        .map((point) => ({ time: point.time as Time, value: -Math.abs(point.drawdown) })),
    );
    chart.timeScale().fitContent();
    return () => chart.remove();
    // A curve is drawn once; another theme draws it anew.
  }, [points, theme]);
  const last = points.at(-1);
  return (
    <figure className="m-0" aria-label={`Equity curve of ${points.length} points, ending at ${price(last?.equity)}`}>
      <div ref={holder} className="h-[420px] w-full" />
    </figure>
  );
}
