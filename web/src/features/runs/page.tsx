import { JobKind, RunState, RunTrigger, type Run } from "@quasar/client/datahub/v1/collection";
import { GapCause, GapState, type Gap } from "@quasar/client/datahub/v1/gap";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import { toast } from "sonner";
import { age, count, span, word } from "../../lib/format.ts";
import { collection } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { StreamStore, useFollow, useStore, type LinkStatus } from "../../rpc/stream.ts";
import { Button, Loading, More, Page, Panel, Result, State, Table, type Tone } from "../../ui/kit.tsx";
import { LinkPill } from "../../ui/link.tsx";

const KEPT = 300;
const TONES: Record<number, Tone> = {
  [RunState.PENDING]: "calm",
  [RunState.RUNNING]: "info",
  [RunState.THROTTLED]: "info",
  [RunState.BACKING_OFF]: "warn",
  [RunState.SUCCEEDED]: "good",
  [RunState.PARTIAL]: "warn",
  [RunState.FAILED]: "bad",
  [RunState.CANCELLED]: "calm",
  [RunState.SKIPPED]: "calm",
};
const UNFINISHED = new Set([RunState.PENDING, RunState.RUNNING, RunState.THROTTLED, RunState.BACKING_OFF]);
const RETRYABLE = new Set([RunState.FAILED, RunState.PARTIAL, RunState.CANCELLED]);

interface Runs {
  byId: Map<string, Run>;
  complete: boolean;
  cursor: string;
  status: LinkStatus;
}

interface News {
  runs: Run[];
  past: Run[] | null;
  cursor: string;
}

/** The stream begins with what has not ended; what ended before is read beside it, and never replaces what the stream says. */
async function* changesAndPast(cursor: string, signal: AbortSignal): AsyncIterable<News> {
  for await (const message of collection.watchRuns({ cursor }, { signal })) {
    const past = message.snapshotComplete
      ? (await collection.listRuns({ pageSize: KEPT, orderBy: "create_time desc" }, { signal })).runs
      : null;
    yield { runs: message.runs, past, cursor: message.cursor };
  }
}

function useRuns(): Runs {
  const store = useMemo(
    () =>
      new StreamStore<Runs>({
        byId: new Map(),
        complete: false,
        cursor: "",
        status: { link: "connecting", failure: null, lastMessage: 0 },
      }),
    [],
  );
  useFollow(
    "runs",
    (signal) => changesAndPast(store.get().cursor, signal),
    ({ runs, past, cursor }) => {
      const now = store.get();
      const byId = new Map([...(past ?? []).map((run): [string, Run] => [run.runId, run]), ...now.byId]);
      for (const run of runs) byId.set(run.runId, run);
      const kept = [...byId].toSorted(([, a], [, b]) => seconds(b.createTime) - seconds(a.createTime)).slice(0, KEPT);
      store.set({
        ...now,
        byId: new Map(kept),
        cursor: cursor || now.cursor,
        complete: now.complete || past !== null,
      });
    },
    (status) => store.set({ ...store.get(), status }),
  );
  return useStore(store);
}

const seconds = (value: { seconds: bigint } | undefined) => Number(value?.seconds ?? 0n);

/** Why a run failed, why a sync of an index left the members as they were, or what maintenance did. */
const why = (run: Run) =>
  run.error?.message ||
  run.indexSync?.message ||
  (run.maintenance && (run.maintenance.partitionsMade || run.maintenance.partitionsDropped)
    ? `${run.maintenance.partitionsMade} partitions made, ${run.maintenance.partitionsDropped} dropped`
    : "");

/** How many rows of a run are new, changed and bad: bars, or the members of an index. */
function changes(run: Run): [string, string, string] {
  if (run.kind !== JobKind.INDEX_SYNC)
    return [count(run.counts?.inserted), count(run.counts?.updated), count(run.counts?.quarantined)];
  const synced = run.indexSync;
  return [count(synced?.added), count(synced && synced.removed + synced.reweighted), count(synced?.errors.length)];
}

export function RunsPage() {
  const runs = useRuns();
  const cache = useQueryClient();
  const act = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void cache.invalidateQueries({ queryKey: ["gaps"] }),
  });
  const gaps = useQuery({
    queryKey: ["gaps"],
    queryFn: () => collection.listGaps({ pageSize: 200 }),
    refetchInterval: 10_000,
  });
  const rows = [...runs.byId.values()].toSorted((a, b) => seconds(b.createTime) - seconds(a.createTime));
  return (
    <Page title="Runs and gaps" actions={<LinkPill status={runs.status} />}>
      <Panel title="Runs">
        {!runs.complete && rows.length === 0 && !runs.status.failure ? (
          <Loading what="runs" />
        ) : (
          <Table<Run>
            label="Runs"
            rows={rows}
            rowKey={(row) => row.runId}
            empty="No run yet. Runs appear when something is subscribed."
            columns={[
              {
                head: "State",
                cell: (row) => (
                  <>
                    <State tone={TONES[row.state] ?? "calm"}>{word(RunState, row.state)}</State>
                    {why(row) && <div className="max-w-md text-xs text-muted">{why(row)}</div>}
                  </>
                ),
              },
              {
                head: "Series",
                cell: (row) =>
                  row.kind === JobKind.MAINTENANCE
                    ? "maintenance"
                    : `${row.series?.key?.symbol ?? row.index} ${row.series?.key?.interval ?? ""}`,
              },
              { head: "Provider", cell: (row) => row.provider },
              { head: "Why", cell: (row) => word(RunTrigger, row.trigger) },
              {
                head: "Range (UTC)",
                cell: (row) => <span className="num whitespace-nowrap">{span(row.range?.start, row.range?.end)}</span>,
              },
              { head: "New", right: true, cell: (row) => changes(row)[0] },
              { head: "Changed", right: true, cell: (row) => changes(row)[1] },
              { head: "Bad", right: true, cell: (row) => changes(row)[2] },
              { head: "Tries", right: true, cell: (row) => count(row.attemptCount) },
              { head: "Started", cell: (row) => (row.startTime ? age(row.startTime) : "–") },
              {
                head: "Actions",
                unseen: true,
                cell: (row) => (
                  <>
                    {UNFINISHED.has(row.state) && (
                      <Button onClick={() => act.mutate(() => collection.cancelRun({ runId: row.runId }))}>
                        Cancel
                      </Button>
                    )}
                    {RETRYABLE.has(row.state) && (
                      <Button onClick={() => act.mutate(() => collection.retryRun({ runId: row.runId }))}>
                        Try again
                      </Button>
                    )}
                  </>
                ),
              },
            ]}
          />
        )}
      </Panel>
      <Panel title="Gaps">
        <Result query={gaps} what="gaps">
          {(answer) => (
            <>
              <Table<Gap>
                label="Gaps"
                rows={answer.gaps}
                rowKey={(row) => row.gapId}
                empty={`No gaps. Checked ${count(answer.checkedSeries)} series ${age(answer.checkTime)}.`}
                columns={[
                  { head: "Series", cell: (row) => `${row.key?.provider} ${row.key?.symbol} ${row.key?.interval}` },
                  { head: "From", cell: (row) => <span className="num">{nanoseconds(row.startTimeNs)}</span> },
                  {
                    head: "To",
                    cell: (row) => (
                      <span className="num">{row.endTimeNs ? nanoseconds(row.endTimeNs) : "still open"}</span>
                    ),
                  },
                  { head: "Missing", right: true, cell: (row) => count(row.missingSlots) },
                  {
                    head: "State",
                    cell: (row) => (
                      <State tone={row.state === GapState.REPAIRED ? "good" : "warn"}>
                        {word(GapState, row.state)}
                      </State>
                    ),
                  },
                  { head: "Cause", cell: (row) => word(GapCause, row.cause) },
                  { head: "Evidence", cell: (row) => row.evidence },
                  {
                    head: "Actions",
                    unseen: true,
                    cell: (row) => (
                      <Button
                        onClick={() =>
                          act.mutate(() =>
                            collection.backfill({
                              series: [{ reference: { case: "seriesId", value: row.seriesId } }],
                              range: {
                                start: stamp(row.startTimeNs),
                                end: row.endTimeNs ? stamp(row.endTimeNs) : undefined,
                              },
                            }),
                          )
                        }
                      >
                        Back-fill
                      </Button>
                    ),
                  },
                ]}
              />
              <More shown={answer.gaps.length} token={answer.nextPageToken} />
            </>
          )}
        </Result>
      </Panel>
    </Page>
  );
}

function stamp(ns: bigint) {
  return { seconds: ns / 1_000_000_000n, nanos: Number(ns % 1_000_000_000n) };
}

function nanoseconds(ns: bigint): string {
  return new Date(Number(ns / 1_000_000n)).toISOString().replace("T", " ").slice(0, 19);
}
