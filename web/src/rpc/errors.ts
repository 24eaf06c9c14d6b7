// What a failed call says to a person: the service's own sentence, its reason and the request that leads to the log.

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "@quasar/client/google/rpc/error_details";

export interface Failure {
  message: string;
  reason: string;
  requestId: string;
  fields: { field: string; description: string }[];
  retryable: boolean;
}

const RETRYABLE = new Set([Code.Unavailable, Code.ResourceExhausted, Code.Aborted, Code.DeadlineExceeded]);

export function failureOf(error: unknown): Failure {
  const connect = ConnectError.from(error);
  const info = connect.findDetails(ErrorInfoSchema)[0];
  const fields = connect.findDetails(BadRequestSchema).flatMap((detail) => detail.fieldViolations);
  return {
    message: connect.rawMessage || "The call failed without saying why.",
    reason: info?.reason ?? Code[connect.code],
    requestId: connect.metadata.get("x-request-id") ?? info?.metadata["request_id"] ?? "",
    fields: fields.map(({ field, description }) => ({ field, description })),
    retryable: RETRYABLE.has(connect.code),
  };
}

export function isUnauthenticated(error: unknown): boolean {
  return ConnectError.from(error).code === Code.Unauthenticated;
}
