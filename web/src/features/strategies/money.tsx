import { OrderSide, OrderStatus, OrderType, type Order, type Position } from "@quasar/client/strategy/v1/order";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { X } from "lucide-react";
import { toast } from "sonner";
import { age, count, decimal, plain, share, word } from "../../lib/format.ts";
import { portfolio, trading } from "../../rpc/clients.ts";
import { failureOf } from "../../rpc/errors.ts";
import { Button, Figure, Panel, Result, State, Table } from "../../ui/kit.tsx";
import { StrictStates, TradingSwitch } from "./trading.tsx";

const SHOWN = 100;

const sign = (value: string | undefined) =>
  value === undefined || Number(value) === 0 ? undefined : Number(value) > 0 ? "up" : "down";

/** What everything together is worth, what is held, and the orders that wait. */
export function Money() {
  const total = useQuery({
    queryKey: ["portfolio"],
    queryFn: async () => (await portfolio.getPortfolio({})).portfolio,
    refetchInterval: 3_000,
  });
  return (
    <>
      <Panel title="Portfolio" aside={<TradingSwitch />}>
        <StrictStates />
        <Result query={total} what="the portfolio">
          {(found) => (
            <>
              <div className="grid grid-cols-2 md:grid-cols-4 xl:grid-cols-8">
                <Figure label={`Equity ${found?.currency ?? ""}`}>{decimal(found?.figures?.equity)}</Figure>
                <Figure label="Cash">{decimal(found?.figures?.cash)}</Figure>
                <Figure label="P&L today" tone={sign(found?.figures?.dayPnl?.value)}>
                  {decimal(found?.figures?.dayPnl)}
                </Figure>
                <Figure label="P&L in all" tone={sign(found?.figures?.totalPnl?.value)}>
                  {decimal(found?.figures?.totalPnl)}
                </Figure>
                <Figure label="Unrealised">{decimal(found?.figures?.unrealisedPnl)}</Figure>
                <Figure label="Gross exposure">{decimal(found?.figures?.grossExposure)}</Figure>
                <Figure label="Drawdown">{share(found?.figures?.drawdown)}</Figure>
                <Figure label="Open orders">{count(found?.figures?.openOrders)}</Figure>
              </div>
              {found && found.positions.length > 0 && <Positions rows={found.positions} />}
            </>
          )}
        </Result>
      </Panel>
      <OpenOrders />
    </>
  );
}

function Positions({ rows }: { rows: Position[] }) {
  return (
    <Table<Position>
      label="Positions"
      rows={rows}
      rowKey={(row) => `${row.accountId} ${row.instanceId} ${row.symbol}`}
      empty=""
      columns={[
        { head: "Symbol", cell: (row) => <span className="font-medium">{row.symbol}</span> },
        { head: "Strategy", cell: (row) => row.instanceId || "–" },
        { head: "Account", cell: (row) => row.accountId },
        { head: "Quantity", right: true, cell: (row) => plain(row.quantity) },
        { head: "Average price", right: true, cell: (row) => decimal(row.averagePrice) },
        { head: "Price", right: true, cell: (row) => decimal(row.markPrice) },
        { head: "Value", right: true, cell: (row) => decimal(row.marketValue) },
        { head: "Unrealised", right: true, cell: (row) => decimal(row.unrealisedPnl) },
        { head: "Realised", right: true, cell: (row) => decimal(row.realisedPnl) },
      ]}
    />
  );
}

function OpenOrders() {
  const cache = useQueryClient();
  const open = useQuery({
    queryKey: ["orders", "open"],
    queryFn: async () => (await trading.listOrders({ filter: OPEN, pageSize: SHOWN })).orders,
    refetchInterval: 3_000,
  });
  const cancel = useMutation({
    mutationFn: (clientOrderId: string) => trading.cancelOrder({ clientOrderId }),
    onError: (error) => toast.error(failureOf(error).message),
    onSettled: () => void cache.invalidateQueries({ queryKey: ["orders"] }),
  });
  return (
    <Panel title="Open orders">
      <Result query={open} what="orders">
        {(rows) => (
          <Table<Order>
            label="Open orders"
            rows={rows}
            rowKey={(row) => row.clientOrderId}
            empty="No order waits."
            columns={[
              { head: "Symbol", cell: (row) => <span className="font-medium">{row.spec?.symbol}</span> },
              {
                head: "Order",
                cell: (row) => `${word(OrderSide, row.spec?.side ?? 0)} ${word(OrderType, row.spec?.type ?? 0)}`,
              },
              { head: "Quantity", right: true, cell: (row) => quantity(row) },
              { head: "Filled", right: true, cell: (row) => plain(row.filledQuantity) },
              { head: "Limit", right: true, cell: (row) => plain(row.spec?.limitPrice) },
              { head: "Trigger", right: true, cell: (row) => plain(row.spec?.triggerPrice) },
              { head: "State", cell: (row) => <State tone="info">{word(OrderStatus, row.status)}</State> },
              { head: "Strategy", cell: (row) => row.instanceId || "–" },
              { head: "Account", cell: (row) => row.accountId },
              { head: "Since", cell: (row) => age(row.createTime) },
              {
                head: "Actions",
                unseen: true,
                cell: (row) => (
                  <Button
                    aria-label={`Cancel the order of ${row.spec?.symbol}`}
                    title="Cancel"
                    busy={cancel.isPending && cancel.variables === row.clientOrderId}
                    onClick={() => cancel.mutate(row.clientOrderId)}
                  >
                    <X size={14} aria-hidden />
                  </Button>
                ),
              },
            ]}
          />
        )}
      </Result>
    </Panel>
  );
}

/** Units, or the amount of money that it is for until it has become units. */
function quantity({ spec, currency }: Order): string {
  const size = spec?.size;
  if (size?.case === "notional") return `${plain(size.value)} ${currency}`;
  return plain(size?.value);
}

const FINAL = ["FILLED", "CANCELLED", "REJECTED", "EXPIRED", "DENIED"];
const OPEN = FINAL.map((status) => `status != "${status}"`).join(" AND ");
