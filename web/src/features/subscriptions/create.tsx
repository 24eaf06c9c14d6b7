import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { ProviderCapability } from "@quasar/client/common/v1/values";
import type { Asset } from "@quasar/client/registry/v1/asset";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useId, useState, type FormEvent } from "react";
import { toast } from "sonner";
import { assets, code, subscriptions } from "../../rpc/clients.ts";
import { Button, Choice, Dialog, Failed, Field } from "../../ui/kit.tsx";

const SHOWN = 20;

/** The first assets that pass a filter. A page of a long list may be short, or empty, and still not be the last. */
async function firstAssets(filter: string, signal: AbortSignal): Promise<Asset[]> {
  const found: Asset[] = [];
  let pageToken = "";
  do {
    const page = await assets.listAssets({ filter, pageSize: SHOWN, pageToken }, { signal });
    found.push(...page.assets);
    pageToken = page.nextPageToken;
  } while (pageToken !== "" && found.length < SHOWN);
  return found;
}

export function NewSubscription({ open, onClose, onDone }: { open: boolean; onClose: () => void; onDone: () => void }) {
  const [provider, setProvider] = useState("");
  const [symbols, setSymbols] = useState("");
  const [wished, setWished] = useState("1min");
  const [wantsLive, setWantsLive] = useState(true);
  const [since, setSince] = useState("");
  const listId = useId();
  const providers = useQuery({
    queryKey: ["code", "providers"],
    queryFn: async () => (await code.listCode({ filter: 'kind = "PROVIDER"', pageSize: 500 })).codes,
    enabled: open,
  });
  const chosen = providers.data?.find((item) => item.ref?.name === provider);
  const intervals = chosen?.manifest?.intervals.length ? chosen.manifest.intervals : ["1min", "5min", "1h", "1d"];
  // What is sent is what the form shows: another provider may not have the interval that was chosen before, or no live feed.
  const interval = intervals.includes(wished) ? wished : (intervals[0] ?? "");
  const capabilities = chosen?.manifest?.capabilities;
  const canLive = capabilities?.includes(ProviderCapability.LIVE) ?? true;
  const historical = capabilities?.includes(ProviderCapability.HISTORICAL) ?? true;
  const live = canLive && (wantsLive || !historical);
  const typed = symbols.split(",").at(-1)?.trim() ?? "";
  const known = useQuery({
    queryKey: ["assets", provider, typed],
    queryFn: ({ signal }) =>
      firstAssets(`source.name = ${JSON.stringify(provider)} AND symbol : ${JSON.stringify(typed)}`, signal),
    enabled: open && provider !== "" && typed.length > 1,
  });
  const create = useMutation({
    mutationFn: () => {
      const names = symbols
        .split(",")
        .map((item) => item.trim())
        .filter(Boolean);
      const [only] = names;
      return subscriptions.createSubscription({
        requestId: crypto.randomUUID(),
        subscription: {
          provider,
          interval,
          historical,
          live,
          storeTicks: live,
          selector: {
            selection:
              names.length === 1 && only
                ? { case: "symbol", value: only }
                : { case: "symbols", value: { symbols: names } },
          },
          backfillStart: historical && since ? timestampFromDate(new Date(`${since}T00:00:00Z`)) : undefined,
        },
      });
    },
    onSuccess: () => {
      toast.success(`Subscribed to ${symbols}`);
      setSymbols("");
      onDone();
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    create.mutate();
  };
  return (
    <Dialog open={open} onClose={onClose} title="Subscribe">
      <form onSubmit={submit} className="flex flex-col gap-4">
        <Choice label="Provider" required value={provider} onChange={(event) => setProvider(event.target.value)}>
          <option value="" disabled>
            Choose …
          </option>
          {providers.data?.map((item) => (
            <option key={item.ref?.name} value={item.ref?.name}>
              {item.ref?.name}
            </option>
          ))}
        </Choice>
        <Field
          label="Symbols, as the provider writes them"
          required
          list={listId}
          value={symbols}
          onChange={(event) => setSymbols(event.target.value)}
          placeholder="BTC/USD, ETH/USD"
          hint="Several are separated by commas."
        />
        <datalist id={listId}>
          {known.data?.map((item) => (
            <option key={item.key?.symbol} value={item.key?.symbol}>
              {item.name}
            </option>
          ))}
        </datalist>
        <Choice label="Interval" value={interval} onChange={(event) => setWished(event.target.value)}>
          {intervals.map((item) => (
            <option key={item}>{item}</option>
          ))}
        </Choice>
        <Field
          label="Collect history since"
          type="date"
          value={since}
          disabled={!historical}
          onChange={(event) => setSince(event.target.value)}
          hint={historical ? "Empty: as far as the provider's preferences say." : `${provider} has live data only.`}
        />
        <label className="flex items-center gap-2 text-sm">
          <input
            type="checkbox"
            checked={live}
            disabled={!canLive || !historical}
            onChange={(event) => setWantsLive(event.target.checked)}
          />{" "}
          {canLive ? "Live ticks and bars too" : `Live ticks and bars: ${provider} has none`}
        </label>
        {create.error && <Failed error={create.error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" busy={create.isPending} disabled={!provider || !symbols.trim()}>
            Subscribe
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
