import { ScopeKind, type PolicyScope } from "@quasar/client/strategy/v1/denial";
import { TradingState, type TradingStateRecord } from "@quasar/client/strategy/v1/policy";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { toast } from "sonner";
import { age, word } from "../../lib/format.ts";
import { policy } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Dialog, Field, State, Table, type Tone } from "../../ui/kit.tsx";

const TONES: Record<number, Tone> = {
  [TradingState.ACTIVE]: "good",
  [TradingState.REDUCE_ONLY]: "warn",
  [TradingState.HALTED]: "bad",
};
const PLATFORM = { kind: ScopeKind.PLATFORM, id: "" };
type Place = Pick<PolicyScope, "kind" | "id">;

/** What somebody is asked to confirm: another state of a scope. */
interface Asked {
  scope: Place;
  next: TradingState;
}

const named = (scope: Place | undefined) =>
  !scope || scope.kind === ScopeKind.PLATFORM ? "the platform" : `${word(ScopeKind, scope.kind)} ${scope.id}`;

/** The trading state as a glyph and a word; "not known" while nobody answers. */
export function TradingPill({ state }: { state: TradingState }) {
  const known = state !== TradingState.UNSPECIFIED;
  return <State tone={TONES[state] ?? "warn"}>trading {known ? word(TradingState, state) : "state not known"}</State>;
}

const strict = (row: TradingStateRecord) => row.state !== TradingState.ACTIVE && row.scope?.kind !== ScopeKind.PLATFORM;

function useTradingStates() {
  return useQuery({
    queryKey: ["trading-state"],
    queryFn: async () => {
      const [whole, all] = await Promise.all([
        policy.getTradingState({ scope: PLATFORM }),
        policy.listTradingStates({}),
      ]);
      return { whole: whole.tradingState, strict: all.tradingStates.filter(strict) };
    },
    refetchInterval: 5_000,
  });
}

/** The state of the platform with the button that halts or resumes it. */
export function TradingSwitch() {
  const states = useTradingStates();
  const [asked, setAsked] = useState<Asked | null>(null);
  // An answer that was there does not tell how things stand while the service is away.
  const whole = states.data?.whole;
  const current = states.isError ? TradingState.UNSPECIFIED : (whole?.state ?? TradingState.UNSPECIFIED);
  return (
    <span className="flex flex-wrap items-center gap-3 text-sm">
      <TradingPill state={current} />
      {current !== TradingState.ACTIVE && whole?.reason && (
        <span className="text-xs text-muted">
          {whole.reason} · {whole.actor?.principal ?? "the engine"}, {age(whole.setTime)}
        </span>
      )}
      {current !== TradingState.ACTIVE && current !== TradingState.UNSPECIFIED && (
        <Button look="primary" onClick={() => setAsked({ scope: PLATFORM, next: TradingState.ACTIVE })}>
          Resume trading
        </Button>
      )}
      {current !== TradingState.HALTED && (
        <Button look="danger" onClick={() => setAsked({ scope: PLATFORM, next: TradingState.HALTED })}>
          Halt trading
        </Button>
      )}
      <Confirmation asked={asked} onClose={() => setAsked(null)} />
    </span>
  );
}

/** Accounts, strategies and instruments that may not trade as usual, and why. */
export function StrictStates() {
  const states = useTradingStates();
  const [asked, setAsked] = useState<Asked | null>(null);
  const rows = states.data?.strict ?? [];
  if (rows.length === 0) return null;
  return (
    <div className="border-b border-line">
      <Table<TradingStateRecord>
        label="Trading states"
        rows={rows}
        rowKey={(row) => named(row.scope)}
        empty=""
        columns={[
          { head: "Who", cell: (row) => <span className="font-medium">{named(row.scope)}</span> },
          { head: "State", cell: (row) => <TradingPill state={row.state} /> },
          { head: "Why", cell: (row) => row.reason },
          { head: "By", cell: (row) => row.actor?.principal ?? "the engine" },
          { head: "Since", cell: (row) => age(row.setTime) },
          {
            head: "Actions",
            unseen: true,
            cell: (row) => (
              <Button
                aria-label={`Resume trading of ${named(row.scope)}`}
                onClick={() => setAsked({ scope: row.scope ?? PLATFORM, next: TradingState.ACTIVE })}
              >
                Resume
              </Button>
            ),
          },
        ]}
      />
      <Confirmation asked={asked} onClose={() => setAsked(null)} />
    </div>
  );
}

function Confirmation({ asked, onClose }: { asked: Asked | null; onClose: () => void }) {
  const cache = useQueryClient();
  const [reason, setReason] = useState("");
  const [cancels, setCancels] = useState(false);
  const halts = asked?.next === TradingState.HALTED;
  const set = useMutation({
    mutationFn: ({ scope, next }: Asked) =>
      policy.setTradingState({
        scope: { kind: scope.kind, id: scope.id },
        state: next,
        reason: reason.trim() || "set on the page",
        cancelOpenOrders: next === TradingState.HALTED && cancels,
      }),
    onSuccess: ({ cancelledClientOrderIds }, { scope, next }) => {
      const also = cancelledClientOrderIds.length ? `, ${cancelledClientOrderIds.length} orders were cancelled` : "";
      toast.success(`Trading of ${named(scope)} is ${word(TradingState, next)}${also}`);
      setReason("");
      setCancels(false);
      onClose();
    },
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void cache.invalidateQueries({ queryKey: ["trading-state"] }),
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (asked) set.mutate(asked);
  };
  return (
    <Dialog open={asked !== null} onClose={onClose} title={halts ? "Halt trading?" : "Resume trading?"}>
      <form onSubmit={submit} className="flex flex-col gap-4">
        <p className="text-sm">
          {halts
            ? `Every new order of ${named(asked?.scope)} is denied until trading is resumed. Orders that work stay where they are unless they are cancelled too.`
            : `Strategies and people may place orders for ${named(asked?.scope)} again, within the limits of the policies.`}
        </p>
        <Field label="Why" value={reason} onChange={(event) => setReason(event.target.value)} maxLength={500} />
        {halts && (
          <label className="flex items-center gap-2 text-sm">
            <input type="checkbox" checked={cancels} onChange={(event) => setCancels(event.target.checked)} /> Cancel
            the open orders too
          </label>
        )}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Leave it</Button>
          <Button type="submit" look={halts ? "danger" : "primary"} busy={set.isPending}>
            {halts ? "Halt" : "Resume"}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
