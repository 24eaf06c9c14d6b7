import { Severity, type Event } from "@quasar/client/ops/v1/event";
import { useMemo } from "react";
import { time } from "../../lib/format.ts";
import { events } from "../../rpc/clients.ts";
import { StreamStore, useFollow, useStore, type LinkStatus } from "../../rpc/stream.ts";
import { Failed, Loading, State, Table, type Tone } from "../../ui/kit.tsx";
import { LinkPill } from "../../ui/link.tsx";

const KEPT = 200;
const TONES: Record<number, Tone> = {
  [Severity.DEBUG]: "calm",
  [Severity.INFO]: "info",
  [Severity.WARNING]: "warn",
  [Severity.ERROR]: "bad",
};

interface Log {
  events: Event[];
  loaded: boolean;
  status: LinkStatus;
}

/** The latest events, then those that follow without a hole: the list's cursor is where the stream begins. */
async function* latestThenLive(filter: string, seen: () => bigint | undefined, signal: AbortSignal) {
  let last = seen();
  if (last === undefined) {
    const page = await events.listEvents({ filter, pageSize: 100 }, { signal });
    yield page.events.toReversed();
    last = page.events[0]?.eventId;
  }
  for await (const message of events.watchEvents({ filter, cursor: last?.toString() ?? "" }, { signal }))
    yield message.events;
}

export function EventList({ filter, empty, live = false }: { filter: string; empty: string; live?: boolean }) {
  const store = useMemo(
    () =>
      new StreamStore<Log>({
        events: [],
        loaded: false,
        status: { link: "connecting", failure: null, lastMessage: 0 },
      }),
    [],
  );
  useFollow(
    filter,
    (signal) => latestThenLive(filter, () => (store.get().loaded ? store.get().events[0]?.eventId : undefined), signal),
    (added) => {
      const { events: shown, ...rest } = store.get();
      store.set({ ...rest, loaded: true, events: [...added.toReversed(), ...shown].slice(0, KEPT) });
    },
    (status) => store.set({ ...store.get(), status }),
  );
  const log = useStore(store);
  if (log.status.link === "offline" && log.status.failure) return <Failed error={log.status.failure.message} />;
  if (!log.loaded) return <Loading what="events" />;
  return (
    <>
      {live && (
        <div className="px-4 pt-3">
          <LinkPill status={log.status} />
        </div>
      )}
      <Table
        label="Events"
        rows={log.events}
        rowKey={(event) => event.eventId.toString()}
        empty={empty}
        columns={[
          { head: "Time (UTC)", cell: (event) => <span className="num whitespace-nowrap">{time(event.time)}</span> },
          {
            head: "Severity",
            cell: (event) => (
              <State tone={TONES[event.severity] ?? "calm"}>{Severity[event.severity]?.toLowerCase()}</State>
            ),
          },
          { head: "Event", cell: (event) => event.kind },
          { head: "About", cell: (event) => `${event.subjectType} ${event.subjectName}` },
          { head: "Message", cell: (event) => event.message },
          { head: "By", cell: (event) => event.actor?.principal ?? event.service },
        ]}
      />
    </>
  );
}
