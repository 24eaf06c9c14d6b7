import { durationMs } from "@bufbuild/protobuf/wkt";
import { PartState, StorageEngine, type SystemInfo, type SystemMetrics } from "@quasar/client/ops/v1/system";
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { age, bytes, count } from "../../lib/format.ts";
import { system } from "../../rpc/clients.ts";
import { StreamStore, useFollow, useStore } from "../../rpc/stream.ts";
import { SERVICES, type ServiceName } from "../../rpc/transport.ts";
import { Failed, Figure, Loading, Page, Panel, Sparkline, State, type Tone } from "../../ui/kit.tsx";
import { EventList } from "../events/list.tsx";

const TITLES: Record<ServiceName, string> = { registry: "Registry", datahub: "DataHub", strategy: "StrategyEngine" };
const HISTORY = 60;
/** Milliseconds of more than four digits tell nobody anything. */
const LONG_S = 10;

const TONES: Record<number, Tone> = {
  [PartState.SERVING]: "good",
  [PartState.DEGRADED]: "warn",
  [PartState.NOT_SERVING]: "bad",
  [PartState.STARTING]: "info",
  [PartState.DRAINING]: "warn",
};

export function PartBadge({ state }: { state: PartState }) {
  return (
    <State tone={TONES[state] ?? "calm"}>{PartState[state]?.toLowerCase().replaceAll("_", " ") ?? "unknown"}</State>
  );
}

interface Load {
  latest: SystemMetrics | null;
  calls: number[];
}

function useLoad(service: ServiceName): Load {
  const store = useMemo(() => new StreamStore<Load>({ latest: null, calls: [] }), []);
  useFollow(
    service,
    (signal) => system[service].watchMetrics({}, { signal }),
    ({ metrics }) => {
      if (!metrics) return;
      const { calls } = store.get();
      store.set({ latest: metrics, calls: [...calls, metrics.callsPerSecond].slice(-HISTORY) });
    },
    // The card tells by itself when its service is away.
    () => undefined,
  );
  return useStore(store);
}

function storageText(info: SystemInfo): string {
  const { storage } = info;
  if (!storage) return "–";
  const engine = storage.engine === StorageEngine.TIMESCALEDB ? `TimescaleDB ${storage.timescaledbVersion} on ` : "";
  const kind = storage.embedded ? "embedded PostgreSQL" : "PostgreSQL";
  return `${engine}${kind} ${storage.postgresqlVersion} · ${bytes(storage.sizeBytes)}`;
}

function ServiceCard({ service }: { service: ServiceName }) {
  const info = useQuery({
    queryKey: ["system", service],
    queryFn: () => system[service].getSystemInfo({}),
    refetchInterval: 5_000,
  });
  const load = useLoad(service);
  const facts = info.data?.systemInfo;
  const aside = info.isError ? <State tone="bad">unreachable</State> : facts && <PartBadge state={facts.state} />;
  return (
    <Panel title={TITLES[service]} aside={aside}>
      {info.isError && <Failed error={info.error} retry={() => void info.refetch()} />}
      {!facts && info.isPending && <Loading what="state" />}
      {facts && (
        <>
          <div className="grid grid-cols-2 sm:grid-cols-3">
            <Figure label="Uptime">{facts.uptime ? uptime(durationMs(facts.uptime)) : "–"}</Figure>
            <Figure label="Memory">{bytes(load.latest?.memoryBytes)}</Figure>
            <Figure label="CPU">{load.latest ? `${Math.round(100 * load.latest.cpuShare)} %` : "–"}</Figure>
            <Figure label="p50 / p99 (ms)">
              {load.latest ? latencies(load.latest.latencyP50Seconds, load.latest.latencyP99Seconds) : "–"}
            </Figure>
            <Figure label="In flight">{count(load.latest?.callsInFlight)}</Figure>
            <Figure label="Calls/s">
              <Sparkline values={load.calls} label="calls a second over the last minutes" />
            </Figure>
          </div>
          <ul className="border-t border-line px-4 py-2 text-sm">
            {facts.parts.map((part) => (
              <li key={part.name} className="flex items-baseline justify-between gap-3 py-0.5">
                <span>{part.name}</span>
                <span className="text-right text-xs">
                  <PartBadge state={part.state} /> <span className="text-muted">{part.detail}</span>
                </span>
              </li>
            ))}
          </ul>
          <p className="border-t border-line px-4 py-2 text-xs text-muted">
            {facts.version} · {storageText(facts)} · started {age(facts.startTime)}
          </p>
        </>
      )}
    </Panel>
  );
}

function latencies(median: number, late: number): string {
  return `${ms(median)} / ${late < LONG_S ? ms(late) : `${Math.round(late)} s`}`;
}

function ms(seconds: number): string {
  return (1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0);
}

function uptime(milliseconds: number): string {
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 60) return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} d`;
}

export function OverviewPage() {
  return (
    <Page title="Overview">
      <div className="grid gap-4 lg:grid-cols-3">
        {SERVICES.map((service) => (
          <ServiceCard key={service} service={service} />
        ))}
      </div>
      <Panel title="What needs a look">
        <EventList filter={'severity >= "WARNING"'} empty="Nothing. No warning or error has been recorded." />
      </Panel>
    </Page>
  );
}
