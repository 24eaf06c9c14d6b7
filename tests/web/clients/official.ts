// The gRPC project's own runtime against the gateway, in its text and its binary form; messages are coded by protobuf-es.

import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { MarketDataService } from "@quasar/client/datahub/v1/market_data_service";
import { EventService } from "@quasar/client/ops/v1/event_service";
import { SystemService } from "@quasar/client/ops/v1/system_service";
import { GrpcWebClientBase, MethodDescriptor, MethodType, type RpcError } from "grpc-web";

interface Method<I extends DescMessage, O extends DescMessage> {
  name: string;
  parent: { typeName: string };
  input: I;
  output: O;
  methodKind: string;
}

export async function run(baseUrl: string, token: string, format: "text" | "binary") {
  const client = new GrpcWebClientBase({ format });
  const bearer = { authorization: `Bearer ${token}` };

  function parts<I extends DescMessage, O extends DescMessage>(method: Method<I, O>, init: MessageInitShape<I>) {
    const path = `/${method.parent.typeName}/${method.name}`;
    const kind = method.methodKind === "unary" ? MethodType.UNARY : MethodType.SERVER_STREAMING;
    const descriptor = new MethodDescriptor<MessageShape<I>, MessageShape<O>>(
      path,
      kind,
      Object as never,
      Object as never,
      (message: MessageShape<I>) => toBinary(method.input, message),
      (bytes: Uint8Array) => fromBinary(method.output, bytes),
    );
    return [baseUrl + path, create(method.input, init), descriptor] as const;
  }

  function unary<I extends DescMessage, O extends DescMessage>(method: Method<I, O>, init: MessageInitShape<I>) {
    const [url, request, descriptor] = parts(method, init);
    return client.unaryCall(url, request, bearer, descriptor);
  }

  function stream<I extends DescMessage, O extends DescMessage>(
    method: Method<I, O>,
    init: MessageInitShape<I>,
    metadata: Record<string, string> = {},
  ) {
    const [url, request, descriptor] = parts(method, init);
    return client.serverStreaming(url, request, { ...bearer, ...metadata }, descriptor);
  }

  async function someTicks(): Promise<number> {
    const value = { provider: "simulated", symbols: ["BTC/USD"] };
    const prices = stream(MarketDataService.method.watchPrices, {
      symbols: [{ symbols: { case: "providerSymbols", value } }],
    });
    const ticks = await new Promise<number>((resolve, reject) => {
      let seen = 0;
      prices.on("error", reject);
      prices.on("data", (message) => {
        seen += message.prices.length;
        if (seen > 2) resolve(seen);
      });
    });
    prices.cancel();
    return ticks;
  }

  const { principal } = await unary(SystemService.method.getCaller, {});
  // In its binary form the runtime reads a response only when it has ended, so that endless streams need the text form.
  const ticks = format === "text" ? await someTicks() : null;
  const key = { provider: "simulated", symbol: "NOPE", interval: "1min" };
  const unknown = await unary(MarketDataService.method.listBars, {
    series: { reference: { case: "key", value: key } },
  }).then(
    () => null,
    (error: RpcError) => error,
  );
  const deadline = { deadline: String(Date.now() + 300) };
  const late = await new Promise<number>((resolve) => {
    stream(EventService.method.watchEvents, {}, deadline).on("error", (error) => resolve(error.code));
  });
  return { principal, ticks, unknown: unknown && [unknown.code, unknown.message], late };
}
