import { ProviderCapability, CodeKind } from "@quasar/client/common/v1/values";
import { ProviderState, type Provider } from "@quasar/client/datahub/v1/provider";
import { CodeState, type Code } from "@quasar/client/registry/v1/code";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { RefreshCw, SlidersHorizontal, Upload } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import { age, bytes, count, word } from "../../lib/format.ts";
import { assets, code, providers } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Page, Panel, Result, State, Table, type Tone } from "../../ui/kit.tsx";
import { SettingsDialog } from "./settings.tsx";
import { UploadDialog } from "./upload.tsx";

const TONES: Record<number, Tone> = {
  [ProviderState.RUNNING]: "good",
  [ProviderState.STARTING]: "info",
  [ProviderState.SWAPPING]: "info",
  [ProviderState.BACKING_OFF]: "warn",
  [ProviderState.FAILED]: "bad",
  [ProviderState.IDLE]: "calm",
};

export function ProvidersPage() {
  const [uploading, setUploading] = useState(false);
  const [setting, setSetting] = useState<string | null>(null);
  const cache = useQueryClient();
  const codes = useQuery({
    queryKey: ["code", "providers"],
    queryFn: async () => (await code.listCode({ filter: 'kind = "PROVIDER"', pageSize: 500 })).codes,
  });
  // What runs is the DataHub's knowledge: without it the list still shows what exists.
  const running = useQuery({
    queryKey: ["providers"],
    queryFn: async () => (await providers.listProviders({ pageSize: 500 })).providers,
    refetchInterval: 5_000,
  });
  const sync = useMutation({
    mutationFn: (name: string) =>
      assets.syncAssets({ scope: { case: "source", value: { kind: CodeKind.PROVIDER, name } } }),
    onSuccess: (_, name) => toast.success(`Reading the symbols of ${name}; follow it under Events`),
    onError: (error) => toast.error(failureOf(error).message),
  });
  const byName = new Map<string, Provider>(running.data?.map((provider) => [provider.name, provider]));
  return (
    <Page
      title="Providers"
      actions={
        <Button look="primary" onClick={() => setUploading(true)}>
          <Upload size={15} aria-hidden /> Upload code
        </Button>
      }
    >
      <Panel>
        <Result query={codes} what="providers">
          {(rows) => (
            <Table<Code>
              label="Providers"
              rows={rows}
              rowKey={(row) => row.ref?.name ?? ""}
              empty="No provider yet. Upload one, or use a built-in one."
              columns={[
                {
                  head: "Name",
                  cell: (row) => (
                    <>
                      <span className="font-medium">{row.ref?.name}</span>{" "}
                      <span className="text-xs text-muted">
                        {row.builtIn ? "built in" : `version ${row.activeVersion}`}
                      </span>
                      <div className="text-xs text-muted">{row.manifest?.description}</div>
                    </>
                  ),
                },
                {
                  head: "Gives",
                  cell: (row) => row.manifest?.capabilities.map((item) => word(ProviderCapability, item)).join(", "),
                },
                { head: "Intervals", cell: (row) => row.manifest?.intervals.join(" ") },
                { head: "State", cell: (row) => <Running row={row} provider={byName.get(row.ref?.name ?? "")} /> },
                { head: "Last data", cell: (row) => age(byName.get(row.ref?.name ?? "")?.lastRowTime) },
                {
                  head: "Memory",
                  right: true,
                  cell: (row) => bytes(byName.get(row.ref?.name ?? "")?.process?.memoryBytes),
                },
                { head: "Symbols", right: true, cell: (row) => count(byName.get(row.ref?.name ?? "")?.symbolCount) },
                { head: "Series", right: true, cell: (row) => count(byName.get(row.ref?.name ?? "")?.seriesCount) },
                {
                  head: "Actions",
                  unseen: true,
                  cell: (row) => (
                    <span className="flex gap-1">
                      <Button
                        aria-label={`Settings of ${row.ref?.name}`}
                        title="Settings and secrets"
                        onClick={() => setSetting(row.ref?.name ?? "")}
                      >
                        <SlidersHorizontal size={14} aria-hidden />
                      </Button>
                      {row.manifest?.capabilities.includes(ProviderCapability.SYMBOLS) && (
                        <Button
                          aria-label={`Read the symbols of ${row.ref?.name}`}
                          title="Read its symbols"
                          busy={sync.isPending && sync.variables === row.ref?.name}
                          onClick={() => sync.mutate(row.ref?.name ?? "")}
                        >
                          <RefreshCw size={14} aria-hidden />
                        </Button>
                      )}
                    </span>
                  ),
                },
              ]}
            />
          )}
        </Result>
      </Panel>
      <SettingsDialog
        subject={setting === null ? null : { kind: CodeKind.PROVIDER, name: setting }}
        onClose={() => setSetting(null)}
      />
      <UploadDialog
        kind={CodeKind.PROVIDER}
        open={uploading}
        onClose={() => setUploading(false)}
        onDone={() => void cache.invalidateQueries({ queryKey: ["code"] })}
      />
    </Page>
  );
}

function Running({ row, provider }: { row: Code; provider: Provider | undefined }) {
  if (row.state === CodeState.INACTIVE) return <State tone="calm">inactive</State>;
  if (row.missing.length > 0) return <State tone="warn">needs {row.missing.join(", ")}</State>;
  if (!provider) return <State tone="calm">not running</State>;
  return (
    <>
      <State tone={TONES[provider.state] ?? "calm"}>{word(ProviderState, provider.state)}</State>
      {provider.detail && <div className="text-xs text-muted">{provider.detail}</div>}
    </>
  );
}
