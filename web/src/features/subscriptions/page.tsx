import { FeedState } from "@quasar/client/datahub/v1/feed";
import {
  SubscriptionHealth,
  SubscriptionState,
  type Selector,
  type Subscription,
} from "@quasar/client/registry/v1/subscription";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Pause, Play, Plus, Trash2 } from "lucide-react";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { toast } from "sonner";
import { subscriptions as subscriptionsRoute } from "../../app/router.tsx";
import { age, count, word } from "../../lib/format.ts";
import { subscriptions } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Dialog, Field, More, Page, Panel, Result, State, Table, type Tone } from "../../ui/kit.tsx";
import { NewSubscription } from "./create.tsx";

const TONES: Record<number, Tone> = {
  [SubscriptionHealth.CURRENT]: "good",
  [SubscriptionHealth.PENDING]: "info",
  [SubscriptionHealth.BACKFILLING]: "info",
  [SubscriptionHealth.PAUSED]: "calm",
  [SubscriptionHealth.BEHIND]: "warn",
  [SubscriptionHealth.GAPS]: "warn",
  [SubscriptionHealth.UNRESOLVED]: "warn",
  [SubscriptionHealth.FAILING]: "bad",
  [SubscriptionHealth.PROVIDER_DOWN]: "bad",
};

function selected(selector: Selector | undefined): string {
  const selection = selector?.selection;
  switch (selection?.case) {
    case "symbol":
    case "commonSymbol":
      return selection.value;
    case "index":
      return `index ${selection.value}`;
    case "symbols":
      return shortened(selection.value.symbols);
    case "commonSymbols":
      return shortened(selection.value.commonSymbols);
    case "assets":
      return "assets by filter";
    default:
      return "–";
  }
}

function shortened(names: string[]): string {
  return names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(", ");
}

/** Whether each word stands in what the row shows. */
function matches(row: Subscription, filter: string): boolean {
  const shown = `${selected(row.selector)} ${row.provider} ${row.interval}`.toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => shown.includes(word));
}

export function SubscriptionsPage() {
  const cache = useQueryClient();
  const [creating, setCreating] = useState(false);
  const [removing, setRemoving] = useState<Subscription | null>(null);
  const list = useQuery({
    queryKey: ["subscriptions"],
    queryFn: () => subscriptions.listSubscriptions({ pageSize: 500 }),
    refetchInterval: 5_000,
  });
  const change = useMutation({
    mutationFn: (work: () => Promise<unknown>) => work(),
    onSettled: () => void cache.invalidateQueries({ queryKey: ["subscriptions"] }),
    onError: (error) => toast.error(failureOf(error).message),
  });
  const { filter } = subscriptionsRoute.useSearch();
  const navigate = useNavigate();
  const toggle = (row: Subscription) =>
    change.mutate(() =>
      row.state === SubscriptionState.PAUSED
        ? subscriptions.resumeSubscription({ subscriptionId: row.subscriptionId })
        : subscriptions.pauseSubscription({ subscriptionId: row.subscriptionId }),
    );
  return (
    <Page
      title="Subscriptions"
      actions={
        <Button look="primary" onClick={() => setCreating(true)}>
          <Plus size={15} aria-hidden /> Subscribe
        </Button>
      }
    >
      <Field
        label="Find a symbol, a provider or an interval"
        value={filter}
        onChange={(event) => void navigate({ to: ".", search: { filter: event.target.value }, replace: true })}
        placeholder="BTC"
      />
      <Panel>
        <Result query={list} what="subscriptions">
          {(answer) => (
            <>
              {answer.statusError && (
                <p className="px-4 py-2 text-sm">
                  <State tone="warn">{answer.statusError}</State>
                </p>
              )}
              <Table<Subscription>
                label="Subscriptions"
                rows={answer.subscriptions.filter((row) => matches(row, filter))}
                rowKey={(row) => row.subscriptionId}
                empty={filter ? `No subscription has “${filter}”.` : "Nothing is collected yet."}
                columns={[
                  { head: "Symbol", cell: (row) => <span className="font-medium">{selected(row.selector)}</span> },
                  { head: "Provider", cell: (row) => row.provider },
                  { head: "Interval", cell: (row) => row.interval },
                  {
                    head: "Collects",
                    cell: (row) => [row.historical && "history", row.live && "live"].filter(Boolean).join(" + "),
                  },
                  {
                    head: "State",
                    cell: (row) => (
                      <>
                        <State tone={TONES[row.status?.health ?? 0] ?? "calm"}>
                          {word(SubscriptionHealth, row.status?.health ?? 0)}
                        </State>
                        {row.status?.detail && <div className="text-xs text-muted">{row.status.detail}</div>}
                      </>
                    ),
                  },
                  { head: "Feed", cell: (row) => word(FeedState, row.status?.feedState ?? 0) },
                  { head: "Last bar", cell: (row) => age(row.status?.lastBarTime) },
                  { head: "Next run", cell: (row) => (row.status?.nextRunTime ? age(row.status.nextRunTime) : "–") },
                  { head: "Bars", right: true, cell: (row) => count(row.status?.barCount) },
                  { head: "Gaps", right: true, cell: (row) => count(row.status?.gapCount) },
                  {
                    head: "Actions",
                    unseen: true,
                    cell: (row) => {
                      const paused = row.state === SubscriptionState.PAUSED;
                      return (
                        <span className="flex gap-1">
                          <Button
                            aria-label={paused ? "Resume" : "Pause"}
                            title={paused ? "Resume" : "Pause"}
                            onClick={() => toggle(row)}
                          >
                            {paused ? <Play size={14} aria-hidden /> : <Pause size={14} aria-hidden />}
                          </Button>
                          <Button aria-label="Remove" title="Remove" onClick={() => setRemoving(row)}>
                            <Trash2 size={14} aria-hidden />
                          </Button>
                        </span>
                      );
                    },
                  },
                ]}
              />
              <More shown={answer.subscriptions.length} token={answer.nextPageToken} />
            </>
          )}
        </Result>
      </Panel>
      <NewSubscription
        open={creating}
        onClose={() => setCreating(false)}
        onDone={() => void cache.invalidateQueries({ queryKey: ["subscriptions"] })}
      />
      <Dialog open={removing !== null} onClose={() => setRemoving(null)} title="Remove the subscription?">
        <p className="mb-4 text-sm">
          {selected(removing?.selector)} will no longer be collected. The bars that are stored stay.
        </p>
        <div className="flex justify-end gap-2">
          <Button onClick={() => setRemoving(null)}>Keep it</Button>
          <Button
            look="danger"
            onClick={() => {
              const id = removing?.subscriptionId ?? "";
              change.mutate(() => subscriptions.deleteSubscription({ subscriptionId: id }));
              setRemoving(null);
            }}
          >
            Remove
          </Button>
        </div>
      </Dialog>
    </Page>
  );
}
