import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { useMutation } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { backtests } from "../../rpc/clients.ts";
import { Button, Choice, Dialog, Failed, Field, State } from "../../ui/kit.tsx";
import { named, parsed, useStoredSeries } from "./stored.ts";

export function NewBacktest({
  open,
  strategies,
  onClose,
  onDone,
}: {
  open: boolean;
  strategies: string[];
  onClose: () => void;
  onDone: (backtestId: string) => void;
}) {
  const [strategy, setStrategy] = useState("");
  const [series, setSeries] = useState("");
  const [cash, setCash] = useState("100000");
  const [commission, setCommission] = useState("0.001");
  const [since, setSince] = useState("");
  const [parameters, setParameters] = useState("");
  const options = useStoredSeries(open);
  const values = parsed(parameters);
  const start = useMutation({
    mutationFn: async () => {
      const chosen = options.find((item) => named(item) === series);
      if (!chosen || !values) throw new Error("A series and valid parameters are needed.");
      const { provider, symbol, interval } = chosen;
      const answer = await backtests.startBacktest({
        requestId: crypto.randomUUID(),
        displayName: `${strategy} on ${symbol} ${interval}`,
        code: { code: { case: "strategy", value: { name: strategy } } },
        parameters: values,
        universe: { selectors: [{ selector: { case: "series", value: { provider, symbol, interval } } }] },
        terms: {
          cash: { amount: { value: cash }, currency: "USD" },
          range: since ? { start: timestampFromDate(new Date(`${since}T00:00:00Z`)) } : undefined,
          execution: { commission: { model: { case: "rate", value: { rate: { value: commission } } } } },
        },
      });
      return answer.backtestId;
    },
    onSuccess: onDone,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.mutate();
  };
  return (
    <Dialog open={open} onClose={onClose} title="New back-test">
      <form onSubmit={submit} className="flex flex-col gap-4">
        <Choice label="Strategy" required value={strategy} onChange={(event) => setStrategy(event.target.value)}>
          <option value="" disabled>
            Choose …
          </option>
          {strategies.map((item) => (
            <option key={item}>{item}</option>
          ))}
        </Choice>
        <Choice label="Bars" required value={series} onChange={(event) => setSeries(event.target.value)}>
          <option value="" disabled>
            Choose …
          </option>
          {options.map((item) => (
            <option key={named(item)} value={named(item)}>
              {item.symbol} {item.interval} ({item.provider})
            </option>
          ))}
        </Choice>
        <div className="grid grid-cols-3 gap-3">
          <Field
            label="Cash (USD)"
            inputMode="decimal"
            value={cash}
            onChange={(event) => setCash(event.target.value)}
          />
          <Field
            label="Commission rate"
            inputMode="decimal"
            value={commission}
            onChange={(event) => setCommission(event.target.value)}
          />
          <Field label="Since" type="date" value={since} onChange={(event) => setSince(event.target.value)} />
        </div>
        <Field
          label="Parameters (JSON); empty: the strategy's defaults"
          value={parameters}
          onChange={(event) => setParameters(event.target.value)}
          placeholder='{"fast": 10, "slow": 30}'
        />
        {!values && <State tone="bad">The parameters must be a JSON object.</State>}
        {start.error && <Failed error={start.error} />}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" look="primary" busy={start.isPending} disabled={!strategy || series === "" || !values}>
            Run it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
