import type { Price } from "@quasar/client/datahub/v1/price";
import type { SeriesMatch } from "@quasar/client/datahub/v1/market_data_service";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useDeferredValue, useState } from "react";
import { age, price, ratio } from "../../lib/format.ts";
import { marketData } from "../../rpc/clients.ts";
import { useFollow, useStore, useStreamStore, type LinkStatus } from "../../rpc/stream.ts";
import { classes, Field, Page, Panel, Result, Sparkline, Table } from "../../ui/kit.tsx";
import { LinkPill } from "../../ui/link.tsx";

const POINTS = 60;

interface Board {
  prices: Map<string, Price>;
  recent: Map<string, number[]>;
  status: LinkStatus;
}

const EMPTY: Board = {
  prices: new Map(),
  recent: new Map(),
  status: { link: "connecting", failure: null, lastMessage: 0 },
};

const name = (provider: string | undefined, symbol: string | undefined) => `${provider} ${symbol}`;

/** Last prices of the rows that are shown, as they change. */
function useBoard(matches: SeriesMatch[]): Board {
  const byProvider = new Map<string, Set<string>>();
  for (const { symbol } of matches) {
    const { provider = "", symbol: written = "" } = symbol?.key ?? {};
    byProvider.set(provider, (byProvider.get(provider) ?? new Set()).add(written));
  }
  const symbols = [...byProvider].map(([provider, written]) => ({
    symbols: { case: "providerSymbols" as const, value: { provider, symbols: [...written] } },
  }));
  const key = JSON.stringify(symbols);
  // One board for as long as the page is open: what was seen stays when the search brings other rows.
  const store = useStreamStore("board", EMPTY);
  useFollow(
    key,
    (signal) => (symbols.length > 0 ? marketData.watchPrices({ symbols }, { signal }) : nothing(signal)),
    (message) => {
      const { status, ...now } = store.get();
      const [prices, recent] = [new Map(now.prices), new Map(now.recent)];
      for (const item of message.prices) {
        const id = name(item.series?.key?.provider, item.series?.key?.symbol);
        prices.set(id, item);
        if (item.last !== undefined) recent.set(id, [...(recent.get(id) ?? []), item.last].slice(-POINTS));
      }
      store.set({ prices, recent, status });
    },
    (status) => store.set({ ...store.get(), status }),
  );
  return useStore(store);
}

/** A stream without messages, for a board without rows. */
async function* nothing(signal: AbortSignal): AsyncIterable<never> {
  yield* [];
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

export function MarketsPage() {
  const [text, setText] = useState("");
  const query = useDeferredValue(text);
  const navigate = useNavigate();
  const found = useQuery({
    queryKey: ["search", query],
    queryFn: async () => (await marketData.searchSeries({ query, pageSize: 100 })).matches,
    placeholderData: (before) => before,
    refetchInterval: 10_000,
  });
  const board = useBoard(found.data ?? []);
  return (
    <Page title="Markets" actions={<LinkPill status={board.status} />}>
      <Field
        label="Find a symbol, a name or a common symbol"
        value={text}
        onChange={(event) => setText(event.target.value)}
        placeholder="BTC"
      />
      <Panel>
        <Result query={found} what="series">
          {(rows) => (
            <Table<SeriesMatch>
              label="Markets"
              rows={rows}
              rowKey={(row) => name(row.symbol?.key?.provider, row.symbol?.key?.symbol)}
              empty={
                query
                  ? `Nothing stored or subscribed is called “${query}”.`
                  : "No series yet: subscribe to a symbol first."
              }
              emptyAction={
                <Link to="/subscriptions" search={{ filter: "" }} className="text-accent underline">
                  Subscriptions
                </Link>
              }
              onOpen={(row) =>
                void navigate({
                  to: "/markets/$provider/$symbol",
                  params: { provider: row.symbol?.key?.provider ?? "", symbol: row.symbol?.key?.symbol ?? "" },
                  search: { i: row.intervals[0]?.interval ?? "1min" },
                })
              }
              columns={[
                { head: "Symbol", cell: (row) => <span className="font-medium">{row.symbol?.key?.symbol}</span> },
                { head: "Name", cell: (row) => row.symbol?.name },
                { head: "Provider", cell: (row) => row.symbol?.key?.provider },
                { head: "Intervals", cell: (row) => row.intervals.map((item) => item.interval).join(" ") },
                { head: "Last", right: true, cell: (row) => <Last item={priceOf(board, row)} /> },
                { head: "Bid / ask", right: true, cell: (row) => <BidAsk item={priceOf(board, row)} /> },
                { head: "Change", right: true, cell: (row) => <Change item={priceOf(board, row)} /> },
                {
                  head: "Recent",
                  cell: (row) => (
                    <Sparkline
                      values={board.recent.get(name(row.symbol?.key?.provider, row.symbol?.key?.symbol)) ?? []}
                      label={`recent prices of ${row.symbol?.key?.symbol}`}
                    />
                  ),
                },
                {
                  head: "Last bar",
                  cell: (row) => age(row.intervals.map((item) => item.lastBarTime).find((item) => item !== undefined)),
                },
              ]}
            />
          )}
        </Result>
      </Panel>
    </Page>
  );
}

function priceOf(board: Board, row: SeriesMatch): Price | undefined {
  return board.prices.get(name(row.symbol?.key?.provider, row.symbol?.key?.symbol));
}

function Last({ item }: { item: Price | undefined }) {
  return <>{price(item?.last, item?.series?.priceDecimals)}</>;
}

/** Best bid and ask of symbols whose quotes are subscribed to; others have none. */
function BidAsk({ item }: { item: Price | undefined }) {
  if (item?.bid === undefined && item?.ask === undefined) return null;
  const decimals = item.series?.priceDecimals;
  return (
    <>
      {price(item.bid, decimals)} / {price(item.ask, decimals)}
    </>
  );
}

function Change({ item }: { item: Price | undefined }) {
  const value = item?.changeRatio;
  return (
    <span
      className={classes(
        value !== undefined && value > 0 && "text-up",
        value !== undefined && value < 0 && "text-down",
      )}
    >
      {ratio(value)}
    </span>
  );
}
