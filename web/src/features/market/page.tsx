import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { SeriesKeySchema, type SeriesKey } from "@quasar/client/common/v1/values";
import { FeedState } from "@quasar/client/datahub/v1/feed";
import type { StreamMarketDataResponse } from "@quasar/client/datahub/v1/market_data_service";
import { DeliveryPolicy, StreamContent, SubscriptionStatusState } from "@quasar/client/datahub/v1/stream";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useMemo, useState } from "react";
import { toast } from "sonner";
import { market } from "../../app/router.tsx";
import { amount, count, price, ratio, share, time, utc, word } from "../../lib/format.ts";
import { collection, marketData } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { useFollow, useStore, useStreamStore, type LinkStatus } from "../../rpc/stream.ts";
import { Button, classes, Empty, Failed, Figure, Loading, Page, Panel, Result, State, Table } from "../../ui/kit.tsx";
import { LinkPill } from "../../ui/link.tsx";
import { candleOf, candlesOf, merged, type Candle } from "./candles.ts";
import { withMinutes, withToday } from "./today.ts";

const CandleChart = lazy(() => import("./chart.tsx").then((module) => ({ default: module.CandleChart })));
const INTERVALS = ["1min", "5min", "15min", "1h", "1d"];
/** Lengths of what minutes tell of. */
const SECONDS: Record<string, number> = { "5min": 300, "15min": 900, "1h": 3_600, "1d": 86_400 };
const HISTORY = 1000;
/** A hole is read again from the vendor within this time; until then the page looks again every so often. */
const SETTLES_MS = 120_000;
const REREAD_MS = 10_000;
const WEEK_MS = 7 * 86_400_000;

interface Live {
  candles: Candle[];
  status: LinkStatus;
  refused: string;
  feed: FeedState;
  cursor: string;
  /** Milliseconds since 1970 until which stored bars may still be mended: there was a break, or a hole. */
  unsettledUntil: number;
}

const START: Live = {
  candles: [],
  status: { link: "connecting", failure: null, lastMessage: 0 },
  refused: "",
  feed: FeedState.UNSPECIFIED,
  cursor: "",
  unsettledUntil: 0,
};

function applied(live: Live, message: StreamMarketDataResponse): Live {
  const rejected = message.statuses.find((item) => item.state === SubscriptionStatusState.REJECTED);
  const accepted = message.statuses.some((item) => item.state !== SubscriptionStatusState.REJECTED);
  const told = message.statuses.at(-1)?.feedState ?? message.heartbeats.at(-1)?.feeds[0]?.state;
  // A feed that brings bars is live, whatever the last word on it was; heartbeats come only when nothing else does.
  const feed = message.bars.length > 0 ? FeedState.LIVE : told;
  return {
    ...live,
    cursor: message.cursor || live.cursor,
    candles: merged(live.candles, message.bars.flatMap(candlesOf)),
    refused: rejected ? rejected.message : accepted ? "" : live.refused,
    feed: feed ?? live.feed,
    unsettledUntil: message.gaps.length > 0 ? Date.now() + SETTLES_MS : live.unsettledUntil,
  };
}

/** The newest bars of a series from the store, and from then on those of the stream, without a seam. */
function useCandles(provider: string, symbol: string, interval: string, enabled = true) {
  const key = useMemo(() => create(SeriesKeySchema, { provider, symbol, interval }), [provider, symbol, interval]);
  const id = `${provider} ${symbol} ${interval}`;
  const store = useStreamStore(id, START);
  const history = useQuery({
    queryKey: ["bars", provider, symbol, interval],
    enabled,
    queryFn: async () => {
      const answer = await marketData.listBars({
        series: { reference: { case: "key", value: key } },
        pageSize: HISTORY,
        orderBy: "open_time desc",
        includeForming: true,
      });
      return answer.bars
        .map(candleOf)
        .filter((candle) => candle !== null)
        .toReversed();
    },
    // The stream goes on where this read ended: an answer kept from an earlier visit would leave a hole between them.
    staleTime: Infinity,
    gcTime: 0,
  });
  const stream = (signal: AbortSignal) => {
    const { cursor } = store.get();
    return marketData.streamMarketData(
      {
        selectors: [
          {
            target: { case: "series", value: { keys: [key] } },
            contents: [StreamContent.FORMING_BARS, StreamContent.GAPS],
            intervals: [interval],
          },
        ],
        start: cursor ? { case: "cursor", value: cursor } : { case: "snapshot", value: true },
        deliveryPolicy: DeliveryPolicy.CONFLATE,
        flushInterval: { seconds: 0n, nanos: 250_000_000 },
      },
      { signal },
    );
  };
  useFollow(
    enabled ? id : null,
    async function* (signal) {
      try {
        yield* stream(signal);
      } catch (error) {
        if (!store.get().cursor || ConnectError.from(error).code !== Code.OutOfRange) throw error;
        // Away for longer than the live log reaches back: read the bars again and begin anew.
        store.set({ ...store.get(), cursor: "" });
        await history.refetch();
        yield* stream(signal);
      }
    },
    (message) => store.set(applied(store.get(), message)),
    (status) => {
      const unsettledUntil = status.link === "reconnecting" ? Date.now() + SETTLES_MS : store.get().unsettledUntil;
      store.set({ ...store.get(), status, unsettledUntil });
    },
  );
  const { refetch } = history;
  useEffect(() => {
    const look = async () => {
      if (Date.now() > store.get().unsettledUntil || store.get().status.link !== "live") return;
      const newest = (await refetch()).data?.at(-1)?.time ?? 0;
      // What the stream told of minutes that are over may lack what happened while it was broken.
      const now = store.get();
      store.set({ ...now, candles: now.candles.filter((candle) => candle.time >= newest) });
    };
    const timer = setInterval(() => void look(), REREAD_MS);
    return () => clearInterval(timer);
  }, [store, refetch]);
  const live = useStore(store);
  const candles = useMemo(() => merged(history.data ?? [], live.candles), [history.data, live.candles]);
  return { history, live, candles, series: key };
}

/** Candles whose newest one moves whatever forms it: minutes tell of an hour, hours of a day that is collected when it is over. */
function useNewest(provider: string, symbol: string, interval: string, own: Candle[]): Candle[] {
  const seconds = SECONDS[interval];
  const minutes = useCandles(provider, symbol, "1min", seconds !== undefined).candles;
  const hours = useCandles(provider, symbol, "1h", interval === "1d").candles;
  return useMemo(() => {
    if (seconds === undefined) return own;
    const begun = interval === "1d" ? withToday(own, withMinutes(hours, minutes, 3_600)) : own;
    return withMinutes(begun, minutes, seconds);
  }, [interval, seconds, own, hours, minutes]);
}

export function MarketPage() {
  const { provider, symbol } = market.useParams();
  const { i: interval } = market.useSearch();
  const navigate = useNavigate();
  const { history, live, candles: own, series } = useCandles(provider, symbol, interval);
  const candles = useNewest(provider, symbol, interval, own);
  const description = useDescription(provider, symbol, interval);
  const decimals = description.data?.series?.priceDecimals;
  const [asTable, setAsTable] = useState(false);
  const unknown = history.isError && failureOf(history.error).reason === "NOT_FOUND";
  const last = candles.at(-1);
  const first = candles.at(-Math.min(candles.length, 120));

  useEffect(() => {
    document.title = last ? `${price(last.close, decimals)} ${symbol} · Quasar` : "Quasar";
    return () => void (document.title = "Quasar");
  }, [last, symbol, decimals]);

  return (
    <Page
      title={symbol}
      actions={
        <>
          <LinkPill status={live.status} />
          {live.feed !== FeedState.UNSPECIFIED && (
            <span className="text-xs text-muted">feed {word(FeedState, live.feed)}</span>
          )}
          <fieldset className="flex overflow-hidden rounded-md border border-line" aria-label="Interval">
            {INTERVALS.map((item) => (
              <button
                key={item}
                type="button"
                aria-pressed={item === interval}
                onClick={() => void navigate({ to: ".", search: { i: item } })}
                className={classes("px-3 py-1.5 text-sm", item === interval ? "bg-accent text-bg" : "bg-panel2")}
              >
                {item}
              </button>
            ))}
          </fieldset>
          <Button onClick={() => setAsTable(!asTable)} aria-pressed={asTable}>
            {asTable ? "Show as chart" : "Show as table"}
          </Button>
        </>
      }
    >
      {live.refused && (
        <Panel>
          <div className="px-4 py-3 text-sm">
            <State tone="warn">{live.refused}</State>
          </div>
        </Panel>
      )}
      <Panel>
        <div className="grid grid-cols-2 md:grid-cols-6">
          <Figure label="Last">{price(last?.close, decimals)}</Figure>
          <Figure
            label={candles.length > 0 ? `Change over ${Math.min(candles.length, 120)} bars` : "Change"}
            tone={last && first ? (last.close >= first.open ? "up" : "down") : undefined}
          >
            {last && first ? ratio(last.close / first.open - 1) : "–"}
          </Figure>
          <Figure label="High">{price(last?.high, decimals)}</Figure>
          <Figure label="Low">{price(last?.low, decimals)}</Figure>
          <Figure label="Volume">{amount(last?.volume)}</Figure>
          <Figure label="Provider">{provider}</Figure>
        </div>
      </Panel>
      <Panel>
        {history.isError && !unknown && candles.length === 0 && (
          <Failed error={history.error} retry={() => void history.refetch()} />
        )}
        {history.isPending && candles.length === 0 && <Loading what="bars" />}
        {!history.isPending && candles.length === 0 && (!history.isError || unknown) && (
          <Empty
            action={
              <Link to="/subscriptions" search={{ filter: "" }} className="text-accent underline">
                Subscribe to it
              </Link>
            }
          >
            No {interval} bars of {symbol} are stored.
          </Empty>
        )}
        {candles.length > 0 &&
          (asTable ? (
            <BarTable candles={candles} decimals={decimals} />
          ) : (
            <Suspense fallback={<Loading what="the chart" />}>
              <CandleChart
                key={`${provider} ${symbol} ${interval}`}
                candles={candles}
                label={`${symbol}, ${interval} candles`}
                decimals={decimals}
              />
            </Suspense>
          ))}
      </Panel>
      {!unknown && <Stored query={description} series={series} />}
    </Page>
  );
}

function BarTable({ candles, decimals }: { candles: Candle[]; decimals: number | undefined }) {
  return (
    <Table
      label="Bars"
      rows={candles.slice(-200).toReversed()}
      rowKey={(row) => String(row.time)}
      empty="No bars."
      columns={[
        {
          head: "Open time (UTC)",
          cell: (row) => <span className="num">{utc(row.time)}</span>,
        },
        { head: "Open", right: true, cell: (row) => price(row.open, decimals) },
        { head: "High", right: true, cell: (row) => price(row.high, decimals) },
        { head: "Low", right: true, cell: (row) => price(row.low, decimals) },
        { head: "Close", right: true, cell: (row) => price(row.close, decimals) },
        { head: "Volume", right: true, cell: (row) => amount(row.volume) },
      ]}
    />
  );
}

function useDescription(provider: string, symbol: string, interval: string) {
  return useQuery({
    queryKey: ["series", provider, symbol, interval],
    queryFn: async () =>
      (
        await marketData.describeSeries({
          series: { reference: { case: "key", value: { provider, symbol, interval } } },
        })
      ).description,
    refetchInterval: 15_000,
  });
}

function Stored({ query, series }: { query: ReturnType<typeof useDescription>; series: SeriesKey }) {
  // Bars that are computed come from a finer series: that one is what can be read again.
  const source = query.data?.series?.derivedFromSeriesId;
  const repair = useMutation({
    mutationFn: () =>
      collection.backfill({
        series: [{ reference: source ? { case: "seriesId", value: source } : { case: "key", value: series } }],
        range: { start: timestampFromDate(new Date(Date.now() - WEEK_MS)) },
      }),
    onSuccess: () => toast.success("The last week is read again; follow it under Runs and gaps"),
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void query.refetch(),
  });
  return (
    <Panel
      title={source ? "Computed from the finer bars that are stored" : "What is stored"}
      aside={
        <Button busy={repair.isPending} onClick={() => repair.mutate()}>
          Back-fill the last week
        </Button>
      }
    >
      <Result query={query} what="the series">
        {(found) => (
          <div className="grid grid-cols-2 md:grid-cols-5">
            <Figure label="Bars">{count(found?.rows)}</Figure>
            <Figure label="First (UTC)">{time(found?.firstTime)}</Figure>
            <Figure label="Last (UTC)">{time(found?.lastTime)}</Figure>
            <Figure label="Complete">{share(found?.completeRatio)}</Figure>
            <Figure label="Open gaps">{count(found?.openGaps)}</Figure>
          </div>
        )}
      </Result>
    </Panel>
  );
}
