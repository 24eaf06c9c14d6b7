// connect-web against the gateway: unary, stream, error details, deadline, abort.

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { MarketDataService } from "@quasar/client/datahub/v1/market_data_service";
import { BadRequestSchema, ErrorInfoSchema } from "@quasar/client/google/rpc/error_details";
import { EventService } from "@quasar/client/ops/v1/event_service";
import { SystemService } from "@quasar/client/ops/v1/system_service";

async function failure(work: () => Promise<unknown>): Promise<ConnectError> {
  try {
    await work();
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("the call must fail, did not");
}

async function drained(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

export async function run(baseUrl: string, token: string) {
  const transport = createGrpcWebTransport({
    baseUrl,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${token}`);
        return next(request);
      },
    ],
  });
  const system = createClient(SystemService, transport);
  const market = createClient(MarketDataService, transport);
  const events = createClient(EventService, transport);

  const { principal } = await system.getCaller({});
  let ticks = 0;
  const symbols = [
    { symbols: { case: "providerSymbols" as const, value: { provider: "simulated", symbols: ["BTC/USD"] } } },
  ];
  // The library keeps a stream that a loop has left: it is ended by its signal.
  const enough = new AbortController();
  for await (const { prices } of market.watchPrices({ symbols }, { signal: enough.signal })) {
    ticks += prices.length;
    if (ticks > 2) break;
  }
  enough.abort();
  const key = { provider: "simulated", symbol: "NOPE", interval: "1min" };
  const unknown = await failure(() => market.listBars({ series: { reference: { case: "key", value: key } } }));
  const invalid = await failure(() => market.listBars({}));
  const late = await failure(() => drained(events.watchEvents({}, { timeoutMs: 300 })));
  const left = new AbortController();
  setTimeout(() => left.abort(), 300);
  const aborted = await failure(() => drained(events.watchEvents({}, { signal: left.signal })));
  return {
    principal,
    ticks,
    unknown: [Code[unknown.code], unknown.findDetails(ErrorInfoSchema)[0]?.reason, unknown.rawMessage],
    invalid: [Code[invalid.code], invalid.findDetails(BadRequestSchema)[0]?.fieldViolations[0]?.field],
    late: Code[late.code],
    aborted: Code[aborted.code],
  };
}
