import { AreaSeries, createChart, LineSeries, type Time } from "lightweight-charts";
import { useEffect, useRef } from "react";
import type { EquityPoint } from "./backtest.tsx";

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Equity above, drawdown from its peak below. */
export function EquityChart({ points }: { points: EquityPoint[] }) {
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!holder.current) return;
    const chart = createChart(holder.current, {
      autoSize: true,
      layout: { background: { color: "transparent" }, textColor: colour("--muted") },
      grid: { vertLines: { color: colour("--line") }, horzLines: { color: colour("--line") } },
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
    equity.setData(points.map((point) => ({ time: point.time as Time, value: point.equity })));
    drawdown.setData(
      points
        .filter((point) => !Number.isNaN(point.drawdown))
        .map((point) => ({ time: point.time as Time, value: -Math.abs(point.drawdown) })),
    );
    chart.timeScale().fitContent();
    return () => chart.remove();
  }, [points]);
  const last = points.at(-1);
  return (
    <div
      ref={holder}
      className="h-[420px] w-full"
      role="img"
      aria-label={`Equity curve of ${points.length} points, ending at ${last?.equity ?? 0}`}
    />
  );
}
