// A strategy that runs on paper from now on: its account, if there is none yet, then the instance, then its start.

import { Code, ConnectError } from "@connectrpc/connect";
import { TradingMode } from "@quasar/client/strategy/v1/strategy";
import { useMutation } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { toast } from "sonner";
import { strategies as service, trading } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Choice, Dialog, Failed, Field, State } from "../../ui/kit.tsx";
import { identity, named, parsed, useStoredSeries } from "./stored.ts";

export function RunOnPaper({
  open,
  strategies,
  onClose,
  onDone,
}: {
  open: boolean;
  strategies: string[];
  onClose: () => void;
  onDone: () => void;
}) {
  const [strategy, setStrategy] = useState("");
  const [series, setSeries] = useState("");
  const [name, setName] = useState("");
  const [account, setAccount] = useState("paper");
  const [cash, setCash] = useState("100000");
  const [parameters, setParameters] = useState("");
  const options = useStoredSeries(open).filter((item) => item.live);
  const chosen = options.find((item) => named(item) === series);
  const values = parsed(parameters);
  const called = name.trim() || (chosen ? `${strategy} on ${chosen.symbol} ${chosen.interval}` : "");
  const id = identity(called);
  const start = useMutation({
    mutationFn: async () => {
      if (!chosen || !values) throw new Error("A series and valid parameters are needed.");
      const money = { amount: { value: cash.trim() }, currency: "USD" };
      await openAccount(account.trim(), money);
      const { provider, symbol, interval } = chosen;
      await service.createInstance({
        requestId: crypto.randomUUID(),
        instance: {
          instanceId: id,
          displayName: called,
          strategy,
          mode: TradingMode.PAPER,
          parameters: values,
          universe: { selectors: [{ selector: { case: "series", value: { provider, symbol, interval } } }] },
          accountId: account.trim(),
          capital: money,
        },
      });
      // It is there from now on, and can be started in the list when it may not run yet.
      await service.startInstance({ instanceId: id }).then(
        () => toast.success(`${called} starts`),
        (error: unknown) => toast.error(failureOf(error).message),
      );
    },
    onSuccess: () => {
      setName("");
      onDone();
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    start.mutate();
  };
  return (
    <Dialog open={open} onClose={onClose} title="Run on paper">
      <form onSubmit={submit} className="flex flex-col gap-4">
        <Choice label="Strategy" required value={strategy} onChange={(event) => setStrategy(event.target.value)}>
          <option value="" disabled>
            Choose …
          </option>
          {strategies.map((item) => (
            <option key={item}>{item}</option>
          ))}
        </Choice>
        <Choice label="Live bars" required value={series} onChange={(event) => setSeries(event.target.value)}>
          <option value="" disabled>
            {options.length > 0 ? "Choose …" : "None: subscribe to a symbol with live data first"}
          </option>
          {options.map((item) => (
            <option key={named(item)} value={named(item)}>
              {item.symbol} {item.interval} ({item.provider})
            </option>
          ))}
        </Choice>
        <Field
          label="Name"
          value={name}
          placeholder={called}
          maxLength={200}
          onChange={(event) => setName(event.target.value)}
          hint={id ? `Known as ${id}, for good.` : "It needs a letter."}
        />
        <div className="grid grid-cols-2 gap-3">
          <Field
            label="Paper account"
            required
            value={account}
            onChange={(event) => setAccount(event.target.value)}
            hint="Opened with the cash beside it when there is none of that name."
          />
          <Field
            label="Cash that it may use (USD)"
            required
            inputMode="decimal"
            value={cash}
            onChange={(event) => setCash(event.target.value)}
          />
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
          <Button
            type="submit"
            look="primary"
            busy={start.isPending}
            disabled={!strategy || !chosen || !values || !id || !account.trim() || !cash.trim()}
          >
            Start it
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

async function openAccount(accountId: string, money: { amount: { value: string }; currency: string }) {
  try {
    await trading.createPaperAccount({ accountId, paper: { cash: [money] } });
  } catch (error) {
    if (ConnectError.from(error).code !== Code.AlreadyExists) throw error;
  }
}
