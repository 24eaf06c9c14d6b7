import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { failureOf } from "./errors.ts";

test("a gateway that is away is said in words, and may come back", () => {
  const failure = failureOf(new TypeError("Failed to fetch"));
  expect(failure.message).toBe("The gateway does not answer. Is the platform running?");
  expect([failure.retryable, failure.final]).toEqual([true, false]);
});

test("a service that is away may come back, a call that is wrong stays wrong", () => {
  const away = failureOf(new ConnectError("The datahub service does not answer.", Code.Unavailable));
  expect([away.message, away.final]).toEqual(["The datahub service does not answer.", false]);
  const wrong = failureOf(new ConnectError("no such series", Code.NotFound));
  expect([wrong.reason, wrong.final]).toEqual(["NotFound", true]);
});
