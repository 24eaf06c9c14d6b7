import { BacktestState } from "@quasar/client/strategy/v1/backtest";
import { PositionSide, type Trade } from "@quasar/client/strategy/v1/statistics";
import { useMutation, useQuery } from "@tanstack/react-query";
import { Download } from "lucide-react";
import { lazy, Suspense } from "react";
import { toast } from "sonner";
import { backtest } from "../../app/router.tsx";
import { count, decimal, ratio, share, time, word } from "../../lib/format.ts";
import { backtests, operations } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Empty, Failed, Figure, Loading, Page, Panel, Result, State, Table } from "../../ui/kit.tsx";

const EquityChart = lazy(() => import("./equity.tsx").then((module) => ({ default: module.EquityChart })));
const FINAL = new Set([BacktestState.SUCCEEDED, BacktestState.FAILED, BacktestState.CANCELLED]);

export interface EquityPoint {
  time: number;
  equity: number;
  drawdown: number;
}

async function readEquity(backtestId: string): Promise<EquityPoint[]> {
  const points: EquityPoint[] = [];
  for await (const { chunk } of backtests.readEquity({ backtestId, maxRows: 2_000 })) {
    chunk?.timeNs.forEach((at, i) =>
      points.push({
        time: Number(at / 1_000_000_000n),
        equity: chunk.equity[i] ?? Number.NaN,
        drawdown: chunk.drawdown[i] ?? Number.NaN,
      }),
    );
  }
  return points;
}

function save(content: Blob, fileName: string): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = fileName;
  link.click();
  URL.revokeObjectURL(url);
}

export function BacktestPage() {
  const { backtestId } = backtest.useParams();
  const found = useQuery({
    queryKey: ["backtest", backtestId],
    queryFn: async () => (await backtests.getBacktest({ backtestId })).backtest,
    refetchInterval: (query) => (FINAL.has(query.state.data?.state ?? BacktestState.UNSPECIFIED) ? false : 500),
  });
  const done = found.data?.state === BacktestState.SUCCEEDED;
  const equity = useQuery({ queryKey: ["equity", backtestId], queryFn: () => readEquity(backtestId), enabled: done });
  const trades = useQuery({
    queryKey: ["trades", backtestId],
    queryFn: () => backtests.listTrades({ backtestId, pageSize: 500 }),
    enabled: done,
  });
  const report = useMutation({
    mutationFn: () => backtests.getBacktestReport({ backtestId }),
    onSuccess: ({ content, contentType, fileName }) =>
      save(new Blob([content as BlobPart], { type: contentType }), fileName),
    onError: (error) => toast.error(failureOf(error).message),
  });
  const cancel = useMutation({
    mutationFn: (operationId: string) => operations.strategy.cancelOperation({ operationId }),
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void found.refetch(),
  });
  return (
    <Page
      title={found.data?.displayName || "Back-test"}
      actions={
        found.data && (
          <>
            {done && (
              <Button busy={report.isPending} onClick={() => report.mutate()}>
                <Download size={15} aria-hidden /> Report
              </Button>
            )}
            {!FINAL.has(found.data.state) && (
              <Button busy={cancel.isPending} onClick={() => cancel.mutate(found.data?.operationId ?? "")}>
                Cancel
              </Button>
            )}
          </>
        )
      }
    >
      <Result query={found} what="the back-test">
        {(test) => (
          <>
            {!done && (
              <Panel>
                <Empty>
                  <State tone={test?.state === BacktestState.FAILED ? "bad" : "info"}>
                    {word(BacktestState, test?.state ?? 0)}
                  </State>
                </Empty>
                {test?.error && <Failed error={test.error} />}
              </Panel>
            )}
            {test?.statistics && (
              <Panel title="Figures">
                <div className="grid grid-cols-2 md:grid-cols-6">
                  <Figure label="Final equity">{decimal(test.statistics.finalEquity)}</Figure>
                  <Figure label="Total return" tone={(test.statistics.totalReturn ?? 0) >= 0 ? "up" : "down"}>
                    {ratio(test.statistics.totalReturn)}
                  </Figure>
                  <Figure label="CAGR">{ratio(test.statistics.cagr)}</Figure>
                  <Figure label="Sharpe">{test.statistics.sharpe?.toFixed(2) ?? "–"}</Figure>
                  <Figure label="Sortino">{test.statistics.sortino?.toFixed(2) ?? "–"}</Figure>
                  <Figure label="Largest drawdown">{ratio(test.statistics.maxDrawdown)}</Figure>
                  <Figure label="Trades">{count(test.statistics.trades)}</Figure>
                  <Figure label="Win rate">{share(test.statistics.winRate)}</Figure>
                  <Figure label="Profit factor">{test.statistics.profitFactor?.toFixed(2) ?? "–"}</Figure>
                  <Figure label="Exposure">{share(test.statistics.exposureTime)}</Figure>
                  <Figure label="Commission">{decimal(test.statistics.commission)}</Figure>
                  <Figure label="Speed">{test.timing ? `${count(test.timing.barsPerSecond)} bars/s` : "–"}</Figure>
                </div>
              </Panel>
            )}
          </>
        )}
      </Result>
      {done && (
        <>
          <Panel title="Equity and drawdown">
            <Result query={equity} what="the equity curve">
              {(points) => (
                <Suspense fallback={<Loading what="the chart" />}>
                  <EquityChart points={points} />
                </Suspense>
              )}
            </Result>
          </Panel>
          <Panel
            title="Trades"
            aside={
              trades.data &&
              trades.data.totalSize > trades.data.trades.length && (
                <span className="text-xs text-muted">
                  the first {count(trades.data.trades.length)} of {count(trades.data.totalSize)}
                </span>
              )
            }
          >
            <Result query={trades} what="trades">
              {(answer) => (
                <Table<Trade>
                  label="Trades"
                  rows={answer.trades}
                  rowKey={(row) => row.tradeNumber.toString()}
                  empty="The strategy made no trade."
                  columns={[
                    { head: "#", right: true, cell: (row) => row.tradeNumber.toString() },
                    { head: "Symbol", cell: (row) => row.symbol },
                    { head: "Side", cell: (row) => word(PositionSide, row.side) },
                    { head: "Quantity", right: true, cell: (row) => row.quantity?.value ?? "–" },
                    { head: "Entry", cell: (row) => <span className="num">{time(row.entryTime)}</span> },
                    { head: "Entry price", right: true, cell: (row) => decimal(row.entryPrice) },
                    { head: "Exit", cell: (row) => <span className="num">{time(row.exitTime)}</span> },
                    { head: "Exit price", right: true, cell: (row) => decimal(row.exitPrice) },
                    { head: "Profit", right: true, cell: (row) => decimal(row.netProfit) },
                    { head: "Return", right: true, cell: (row) => ratio(row.returnRatio) },
                  ]}
                />
              )}
            </Result>
          </Panel>
        </>
      )}
    </Page>
  );
}
