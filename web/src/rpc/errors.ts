// What a failed call says to a person: the service's own sentence, its reason and the request that leads to the log.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "@quasar/client/google/rpc/error_details";

export interface Failure {
  message: string;
  reason: string;
  requestId: string;
  fields: { field: string; description: string }[];
  /** Whether the same call may succeed in a moment. */
  retryable: boolean;
  /** Whether waiting cannot help: the call itself is wrong, or not allowed. */
  final: boolean;
}

const RETRYABLE = new Set([Code.Unavailable, Code.ResourceExhausted, Code.Aborted, Code.DeadlineExceeded]);
const PASSING = new Set([...RETRYABLE, Code.Internal, Code.Unknown, Code.Canceled, Code.DataLoss]);
const NO_GATEWAY = "The gateway does not answer. Is the platform running?";

export function failureOf(error: unknown): Failure {
  const connect = ConnectError.from(error);
  // What fetch throws when nobody listens; its words differ from browser to browser.
  const unreachable = connect.cause instanceof TypeError || error instanceof TypeError;
  const info = connect.findDetails(ErrorInfoSchema)[0];
  const fields = connect.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  return {
    message: unreachable ? NO_GATEWAY : connect.rawMessage || "The call failed without saying why.",
    reason: unreachable ? "UNREACHABLE" : (info?.reason ?? Code[connect.code]),
    requestId: connect.metadata.get("x-request-id") ?? info?.metadata["request_id"] ?? "",
    fields: fields.map(({ field, description }) => ({ field, description })),
    retryable: unreachable || RETRYABLE.has(connect.code),
    final: !unreachable && !PASSING.has(connect.code),
  };
}

export function isUnauthenticated(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}
