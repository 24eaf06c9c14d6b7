// One transport to the gateway, and one for each service's answers to what every service serves.

import type { Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { isUnauthenticated } from "./errors.ts";
import { currentToken, signOut } from "./session.ts";

const authenticate: Interceptor = (next) => async (request) => {
  const token = currentToken();
  if (token && !request.header.has("authorization")) request.header.set("authorization", `Bearer ${token}`);
  try {
    return await next(request);
  } catch (error) {
    // A revoked or expired token sends the user back to the door, not into a wall of red boxes.
    if (isUnauthenticated(error) && token === currentToken() && token) signOut();
    throw error;
  }
};

function transport(prefix: string) {
  return createGrpcWebTransport({ baseUrl: `${location.origin}${prefix}`, interceptors: [authenticate] });
}

export const gateway = transport("");
export const SERVICES = ["registry", "datahub", "strategy"] as const;
export type ServiceName = (typeof SERVICES)[number];
export const byService = {
  registry: transport("/registry"),
  datahub: transport("/datahub"),
  strategy: transport("/strategy"),
} satisfies Record<ServiceName, ReturnType<typeof transport>>;
