import { CodeKind } from "@quasar/client/common/v1/values";
import { CodeState, type Code } from "@quasar/client/registry/v1/code";
import { BacktestState, type Backtest } from "@quasar/client/strategy/v1/backtest";
import {
  InstanceState,
  SignalDirection,
  StopAction,
  TradingMode,
  type Instance,
} from "@quasar/client/strategy/v1/strategy";
import { TradingState } from "@quasar/client/strategy/v1/policy";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Play, Square, Upload } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { age, count, decimal, ratio, word } from "../../lib/format.ts";
import { backtests, code, strategies } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Page, Panel, Result, Sparkline, State, Table, type Tone } from "../../ui/kit.tsx";
import { UploadDialog } from "../providers/upload.tsx";
import { NewBacktest } from "./create.tsx";
import { Money } from "./money.tsx";
import { RunOnPaper } from "./paper.tsx";
import { TradingPill } from "./trading.tsx";

const INSTANCE_TONES: Record<number, Tone> = {
  [InstanceState.RUNNING]: "good",
  [InstanceState.STARTING]: "info",
  [InstanceState.WARMING_UP]: "info",
  [InstanceState.WAITING]: "calm",
  [InstanceState.STOPPED]: "calm",
  [InstanceState.PAUSED]: "warn",
  [InstanceState.STOPPING]: "warn",
  [InstanceState.BACKING_OFF]: "warn",
  [InstanceState.FAILED]: "bad",
};
const BACKTEST_TONES: Record<number, Tone> = {
  [BacktestState.PENDING]: "calm",
  [BacktestState.LOADING]: "info",
  [BacktestState.RUNNING]: "info",
  [BacktestState.SUCCEEDED]: "good",
  [BacktestState.FAILED]: "bad",
  [BacktestState.CANCELLED]: "calm",
};
const STOPPED = new Set([InstanceState.STOPPED, InstanceState.FAILED]);

/** Whether an instance may not trade as usual: by its own state, or that of its account or of the platform. */
function strict({ summary }: Instance): boolean {
  return ![undefined, TradingState.UNSPECIFIED, TradingState.ACTIVE].includes(summary?.tradingState);
}

/** What a strategy told last, and when. */
function signal({ summary }: Instance): string {
  const told = summary?.lastSignal;
  if (!told) return "–";
  const way = told.direction === SignalDirection.UNSPECIFIED ? "" : word(SignalDirection, told.direction);
  return `${[told.label, way, told.symbol].filter(Boolean).join(" ")}, ${age(summary.lastSignalTime)}`;
}

export function StrategiesPage() {
  const navigate = useNavigate();
  const cache = useQueryClient();
  const [uploading, setUploading] = useState(false);
  const [testing, setTesting] = useState(false);
  const [starting, setStarting] = useState(false);
  const instances = useQuery({
    queryKey: ["instances"],
    queryFn: async () => (await strategies.listInstances({ pageSize: 200 })).instances,
    refetchInterval: 3_000,
  });
  const tests = useQuery({
    queryKey: ["backtests"],
    queryFn: async () => (await backtests.listBacktests({ pageSize: 50 })).backtests,
    refetchInterval: 3_000,
  });
  const known = useQuery({
    queryKey: ["code", "strategies"],
    queryFn: async () => (await code.listCode({ filter: 'kind = "STRATEGY"', pageSize: 200 })).codes,
  });
  const act = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void cache.invalidateQueries({ queryKey: ["instances"] }),
  });
  return (
    <Page
      title="Strategies"
      actions={
        <>
          <Button onClick={() => setUploading(true)}>
            <Upload size={15} aria-hidden /> Upload code
          </Button>
          <Button onClick={() => setStarting(true)} disabled={!known.data?.length}>
            <Play size={15} aria-hidden /> Run on paper
          </Button>
          <Button look="primary" onClick={() => setTesting(true)} disabled={!known.data?.length}>
            New back-test
          </Button>
        </>
      }
    >
      <Money />
      <Panel title="Running">
        <Result query={instances} what="instances">
          {(rows) => (
            <Table<Instance>
              label="Instances"
              rows={rows}
              rowKey={(row) => row.instanceId}
              empty="No instance runs a strategy yet."
              columns={[
                {
                  head: "Name",
                  cell: (row) => <span className="font-medium">{row.displayName || row.instanceId}</span>,
                },
                { head: "Strategy", cell: (row) => `${row.strategy} v${row.codeVersion}` },
                { head: "Mode", cell: (row) => word(TradingMode, row.mode) },
                {
                  head: "State",
                  cell: (row) => (
                    <>
                      <State tone={INSTANCE_TONES[row.state] ?? "calm"}>{word(InstanceState, row.state)}</State>
                      {row.stateText && <div className="text-xs text-muted">{row.stateText}</div>}
                      {strict(row) && (
                        <div className="text-xs">
                          <TradingPill state={row.summary?.tradingState ?? TradingState.UNSPECIFIED} />
                        </div>
                      )}
                    </>
                  ),
                },
                { head: "Equity", right: true, cell: (row) => decimal(row.summary?.equity?.amount) },
                { head: "P&L", right: true, cell: (row) => decimal(row.summary?.totalPnl?.amount) },
                {
                  head: "Curve",
                  cell: (row) => <Sparkline values={row.summary?.equitySparkline ?? []} label="equity" />,
                },
                { head: "Fills today", right: true, cell: (row) => count(row.summary?.fillsToday) },
                { head: "Denials today", right: true, cell: (row) => count(row.summary?.denialsToday) },
                { head: "Last signal", cell: (row) => signal(row) },
                { head: "Last data", cell: (row) => age(row.summary?.lastDataTime) },
                {
                  head: "Actions",
                  unseen: true,
                  cell: (row) =>
                    STOPPED.has(row.state) ? (
                      <Button
                        aria-label={`Start ${row.displayName || row.instanceId}`}
                        disabled={act.isPending}
                        onClick={() => act.mutate(() => strategies.startInstance({ instanceId: row.instanceId }))}
                      >
                        <Play size={14} aria-hidden /> Start
                      </Button>
                    ) : (
                      <Button
                        aria-label={`Stop ${row.displayName || row.instanceId}`}
                        disabled={act.isPending || row.state === InstanceState.STOPPING}
                        onClick={() =>
                          act.mutate(() =>
                            strategies.stopInstance({ instanceId: row.instanceId, action: StopAction.CANCEL_ORDERS }),
                          )
                        }
                      >
                        <Square size={14} aria-hidden /> Stop
                      </Button>
                    ),
                },
              ]}
            />
          )}
        </Result>
      </Panel>
      <Panel title="Code">
        <Result query={known} what="strategies">
          {(rows) => (
            <Table<Code>
              label="Strategy code"
              rows={rows}
              rowKey={(row) => row.ref?.name ?? ""}
              empty="No strategy yet. Upload one: examples/strategies has some to begin with."
              columns={[
                { head: "Name", cell: (row) => <span className="font-medium">{row.ref?.name}</span> },
                { head: "Version", cell: (row) => (row.builtIn ? "built in" : `version ${row.activeVersion}`) },
                {
                  head: "State",
                  cell: (row) => (
                    <State tone={row.state === CodeState.ACTIVE ? "good" : "calm"}>{word(CodeState, row.state)}</State>
                  ),
                },
                { head: "What it does", cell: (row) => row.manifest?.description },
                { head: "Changed", cell: (row) => age(row.updateTime) },
              ]}
            />
          )}
        </Result>
      </Panel>
      <Panel title="Back-tests">
        <Result query={tests} what="back-tests">
          {(rows) => (
            <Table<Backtest>
              label="Back-tests"
              rows={rows}
              rowKey={(row) => row.backtestId}
              empty="No back-test yet."
              onOpen={(row) => void navigate({ to: "/backtests/$backtestId", params: { backtestId: row.backtestId } })}
              columns={[
                {
                  head: "Name",
                  cell: (row) => <span className="font-medium">{row.displayName || row.backtestId.slice(0, 8)}</span>,
                },
                { head: "Strategy", cell: (row) => `${row.strategy}${row.codeVersion ? ` v${row.codeVersion}` : ""}` },
                {
                  head: "Series",
                  cell: (row) => row.series.map((item) => `${item.symbol} ${item.series?.interval}`).join(", "),
                },
                {
                  head: "State",
                  cell: (row) => (
                    <>
                      <State tone={BACKTEST_TONES[row.state] ?? "calm"}>{word(BacktestState, row.state)}</State>
                      {row.error && <div className="max-w-md text-xs text-muted">{row.error}</div>}
                    </>
                  ),
                },
                { head: "Return", right: true, cell: (row) => ratio(row.statistics?.totalReturn) },
                { head: "Sharpe", right: true, cell: (row) => row.statistics?.sharpe?.toFixed(2) ?? "–" },
                { head: "Drawdown", right: true, cell: (row) => ratio(row.statistics?.maxDrawdown) },
                { head: "Trades", right: true, cell: (row) => count(row.statistics?.trades) },
                { head: "Created", cell: (row) => age(row.createTime) },
              ]}
            />
          )}
        </Result>
      </Panel>
      <UploadDialog
        kind={CodeKind.STRATEGY}
        open={uploading}
        onClose={() => setUploading(false)}
        onDone={() => void cache.invalidateQueries({ queryKey: ["code"] })}
      />
      <RunOnPaper
        open={starting}
        strategies={known.data?.map((item) => item.ref?.name ?? "") ?? []}
        onClose={() => setStarting(false)}
        onDone={() => void cache.invalidateQueries({ queryKey: ["instances"] })}
      />
      <NewBacktest
        open={testing}
        strategies={known.data?.map((item) => item.ref?.name ?? "") ?? []}
        onClose={() => setTesting(false)}
        onDone={(backtestId) => void navigate({ to: "/backtests/$backtestId", params: { backtestId } })}
      />
    </Page>
  );
}
