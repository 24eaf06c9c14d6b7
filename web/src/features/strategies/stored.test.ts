import { expect, test } from "vitest";
import { identity, parsed } from "./stored.ts";

test("a name becomes an identity that the platform takes", () => {
  expect(identity("Sma_cross on BTC/USD 1min")).toBe("sma-cross-on-btc-usd-1min");
  expect(identity("  7 days! ")).toBe("days");
  expect(identity("–")).toBe("");
  expect(identity("x".repeat(80))).toHaveLength(63);
});

test("parameters are a JSON object or nothing", () => {
  expect(parsed("")).toEqual({});
  expect(parsed('{"fast": 2}')).toEqual({ fast: 2 });
  for (const text of ['{"fast": 2', "[1]", "3", "null"]) expect(parsed(text)).toBeNull();
});
