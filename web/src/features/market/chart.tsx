import {
  CandlestickSeries,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type Time,
} from "lightweight-charts";
import { useEffect, useRef, useState } from "react";
import { amount, price, utc } from "../../lib/format.ts";
import { Button } from "../../ui/kit.tsx";
import { chartColours, colour, useTheme } from "../../ui/theme.ts";
import { changes, type Candle } from "./candles.ts";

interface Drawn {
  chart: IChartApi;
  candles: ISeriesApi<"Candlestick">;
  volume: ISeriesApi<"Histogram">;
}

const FIRST_VIEW = 120;

function draw(element: HTMLElement): Drawn {
  const chart = createChart(element, {
    autoSize: true,
    timeScale: { timeVisible: true, secondsVisible: false },
  });
  const candles = chart.addSeries(CandlestickSeries, { borderVisible: false });
  const volume = chart.addSeries(HistogramSeries, {
    priceFormat: { type: "volume" },
    priceScaleId: "",
    lastValueVisible: false,
    priceLineVisible: false,
  });
  candles.priceScale().applyOptions({ scaleMargins: { top: 0.14, bottom: 0.22 } });
  volume.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
  return { chart, candles, volume };
}

function paint({ chart, candles, volume }: Drawn): void {
  const [up, down] = [colour("--up"), colour("--down")];
  chart.applyOptions(chartColours());
  candles.applyOptions({ upColor: up, wickUpColor: up, downColor: down, wickDownColor: down });
  volume.applyOptions({ color: colour("--line") });
}

const bar = ({ time, open, high, low, close }: Candle) => ({ time: time as Time, open, high, low, close });
const column = ({ time, volume }: Candle) => ({ time: time as Time, value: volume });

/** Candles with volume below. The newest one is updated in place; anything else is drawn anew. */
export function CandleChart({ candles, label, decimals }: { candles: Candle[]; label: string; decimals?: number }) {
  const holder = useRef<HTMLDivElement>(null);
  const drawn = useRef<Drawn | null>(null);
  const shown = useRef<Candle[]>([]);
  const theme = useTheme();
  const [pointed, setPointed] = useState<number | null>(null);
  const [atNow, setAtNow] = useState(true);

  useEffect(() => {
    if (!holder.current) return;
    const made = draw(holder.current);
    drawn.current = made;
    shown.current = [];
    made.chart.subscribeCrosshairMove(({ time }) => setPointed(typeof time === "number" ? time : null));
    made.chart
      .timeScale()
      .subscribeVisibleLogicalRangeChange((range) => setAtNow(!range || range.to >= shown.current.length - 1));
    return () => {
      made.chart.remove();
      drawn.current = null;
    };
  }, []);

  useEffect(() => {
    if (drawn.current) paint(drawn.current);
  }, [theme]);

  useEffect(() => {
    drawn.current?.chart.applyOptions({ localization: { priceFormatter: (value: number) => price(value, decimals) } });
  }, [decimals]);

  useEffect(() => {
    const now = drawn.current;
    if (!now) return;
    const before = shown.current;
    const changed = changes(before, candles);
    shown.current = candles;
    for (const candle of changed ?? []) {
      now.candles.update(bar(candle));
      now.volume.update(column(candle));
    }
    if (changed) return;
    now.candles.setData(candles.map(bar));
    now.volume.setData(candles.map(column));
    if (before.length === 0)
      now.chart.timeScale().setVisibleLogicalRange({ from: candles.length - FIRST_VIEW, to: candles.length + 3 });
  }, [candles]);

  const told = candles.find((candle) => candle.time === pointed) ?? candles.at(-1);
  return (
    <figure className="relative m-0" aria-label={label}>
      <div ref={holder} className="h-[480px] w-full" />
      <figcaption className="num pointer-events-none absolute top-2 right-20 left-3 z-10 flex flex-wrap gap-x-4 text-xs text-muted">
        {told && (
          <>
            <span>{utc(told.time)}</span>
            <span>O {price(told.open, decimals)}</span>
            <span>H {price(told.high, decimals)}</span>
            <span>L {price(told.low, decimals)}</span>
            <span className={told.close >= told.open ? "text-up" : "text-down"}>C {price(told.close, decimals)}</span>
            <span>V {amount(told.volume)}</span>
          </>
        )}
      </figcaption>
      {!atNow && (
        <div className="absolute bottom-10 left-1/2 z-10 -translate-x-1/2">
          <Button onClick={() => drawn.current?.chart.timeScale().scrollToRealTime()}>Go to now</Button>
        </div>
      )}
    </figure>
  );
}
