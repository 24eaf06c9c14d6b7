import {
  CandlestickSeries,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type Time,
} from "lightweight-charts";
import { useEffect, useRef } from "react";
import { price } from "../../lib/format.ts";
import { Button } from "../../ui/kit.tsx";
import type { Candle } from "./candles.ts";

interface Drawn {
  chart: IChartApi;
  candles: ISeriesApi<"Candlestick">;
  volume: ISeriesApi<"Histogram">;
}

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function draw(element: HTMLElement): Drawn {
  const chart = createChart(element, {
    autoSize: true,
    layout: { background: { color: "transparent" }, textColor: colour("--muted") },
    grid: { vertLines: { color: colour("--line") }, horzLines: { color: colour("--line") } },
    timeScale: { timeVisible: true, secondsVisible: false },
    localization: { priceFormatter: (value: number) => price(value) },
  });
  const candles = chart.addSeries(CandlestickSeries, {
    upColor: colour("--up"),
    wickUpColor: colour("--up"),
    downColor: colour("--down"),
    wickDownColor: colour("--down"),
    borderVisible: false,
  });
  const volume = chart.addSeries(HistogramSeries, {
    priceFormat: { type: "volume" },
    priceScaleId: "",
    color: colour("--line"),
  });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  return { chart, candles, volume };
}

const bar = ({ volume: _, time, ...prices }: Candle) => ({ time: time as Time, ...prices });
const column = ({ time, volume }: Candle) => ({ time: time as Time, value: volume });

/** Candles with volume below. The newest one is updated in place; anything else is drawn anew. */
export function CandleChart({ candles, label }: { candles: Candle[]; label: string }) {
  const holder = useRef<HTMLDivElement>(null);
  const drawn = useRef<Drawn | null>(null);
  const shown = useRef<Candle[]>([]);

  useEffect(() => {
    if (!holder.current) return;
    const made = draw(holder.current);
    drawn.current = made;
    shown.current = [];
    return () => {
      made.chart.remove();
      drawn.current = null;
    };
  }, []);

  useEffect(() => {
    const now = drawn.current;
    if (!now) return;
    const before = shown.current;
    const last = candles.at(-1);
    // A live tick changes the last candle or adds one; everything before it is the same object.
    const changedFrom = before.length > 0 && candles.length >= before.length ? before.length - 1 : -1;
    const tail =
      changedFrom > 0 && candles[changedFrom - 1] === before[changedFrom - 1] && candles.length - before.length <= 2;
    if (tail && last) {
      for (const candle of candles.slice(changedFrom)) {
        now.candles.update(bar(candle));
        now.volume.update(column(candle));
      }
    } else {
      now.candles.setData(candles.map(bar));
      now.volume.setData(candles.map(column));
      if (before.length === 0)
        now.chart.timeScale().setVisibleLogicalRange({ from: candles.length - 120, to: candles.length + 3 });
    }
    shown.current = candles;
  }, [candles]);

  return (
    <div className="relative">
      <div ref={holder} className="h-[480px] w-full" role="img" aria-label={label} />
      <div className="absolute right-20 bottom-9 z-10">
        <Button onClick={() => drawn.current?.chart.timeScale().scrollToRealTime()}>Go to now</Button>
      </div>
    </div>
  );
}
