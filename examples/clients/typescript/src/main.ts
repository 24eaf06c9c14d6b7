// Subscribes to symbols, lists what is subscribed and prints the first live trades, over native gRPC.
//
//   QUASAR_TOKEN=$(cat ~/.quasar/admin.token) npm --workspace examples/clients/typescript start
//
// QUASAR_REGISTRY_ADDRESS and QUASAR_DATAHUB_ADDRESS name the services; by default they are those of this machine.
import { Code, ConnectError, createClient, type Client, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { MarketDataService } from "@quasar/client/datahub/v1/market_data_service";
import { StreamContent } from "@quasar/client/datahub/v1/stream";
import { SubscriptionService } from "@quasar/client/registry/v1/subscription_service";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    provider: { type: "string", default: "simulated" },
    symbols: { type: "string", default: "BTC/USD,ETH/USD,SOL/USD,XRP/USD" },
    ticks: { type: "string", default: "50" },
    seconds: { type: "string", default: "60" },
  },
});

function transport(variable: string, usual: string) {
  const token = process.env["QUASAR_TOKEN"];
  if (!token) {
    throw new Error("QUASAR_TOKEN must hold a token; `quasar token create NAME --role operator` makes one");
  }
  const bearer: Interceptor = (next) => (request) => {
    request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
  return createGrpcTransport({ baseUrl: `http://${process.env[variable] || usual}`, interceptors: [bearer] });
}

async function subscribe(client: Client<typeof SubscriptionService>, provider: string, symbols: string[]) {
  for (const symbol of symbols) {
    const selector = { selection: { case: "symbol" as const, value: symbol } };
    try {
      await client.createSubscription({ subscription: { provider, selector, interval: "1min", live: true } });
      console.log(`subscribed   ${provider}:${symbol}`);
    } catch (error) {
      if (ConnectError.from(error).code !== Code.AlreadyExists) throw error;
      console.log(`subscribed   ${provider}:${symbol} (was there)`);
    }
  }
}

async function list(client: Client<typeof SubscriptionService>) {
  let pageToken = "";
  do {
    const page = await client.listSubscribedSeries({ pageToken });
    for (const { key } of page.series) {
      console.log(`series       ${key?.provider}:${key?.symbol}@${key?.interval}`);
    }
    pageToken = page.nextPageToken;
  } while (pageToken);
}

async function stream(client: Client<typeof MarketDataService>, provider: string, symbols: string[], wanted: number) {
  const names = new Map<number, string>();
  const timeoutMs = Number(options.seconds) * 1000;
  const chosen = { symbols: { case: "providerSymbols" as const, value: { provider, symbols } } };
  const envelopes = client.streamMarketData(
    { selectors: [{ target: { case: "symbols", value: chosen }, contents: [StreamContent.TRADES] }] },
    { timeoutMs },
  );
  let seen = 0;
  for await (const envelope of envelopes) {
    for (const info of envelope.series) names.set(info.seriesId, info.key?.symbol ?? "");
    for (const chunk of envelope.ticks) {
      // Columns: row i of each belongs together. Times are nanoseconds, as bigint.
      for (const [i, at] of chunk.eventTimeNs.entries()) {
        seen += 1;
        const when = new Date(Number(at / 1_000_000n)).toISOString().slice(11, 23);
        console.log(
          `trade ${String(seen).padStart(5)}  ${when} ${names.get(chunk.seriesId)} ${chunk.price[i]} × ${chunk.size[i]}`,
        );
        if (seen >= wanted) return; // leaving the loop ends the stream
      }
    }
  }
  throw new Error(`the stream must bring ${wanted} trades, ended after ${seen}`);
}

async function main() {
  const { provider, ticks } = options;
  const symbols = options.symbols.split(",");
  const subscriptions = createClient(SubscriptionService, transport("QUASAR_REGISTRY_ADDRESS", "localhost:8080"));
  const marketData = createClient(MarketDataService, transport("QUASAR_DATAHUB_ADDRESS", "localhost:8081"));
  await subscribe(subscriptions, provider, symbols);
  await list(subscriptions);
  await stream(marketData, provider, symbols, Number(ticks));
}

try {
  await main();
  // Connections stay open for the next call; this program has none.
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}
