import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { age, bytes, price, ratio, word } from "./format.ts";

test("small prices keep their digits and large ones grow none", () => {
  expect(price(0.00001234)).toBe("0.00001234");
  expect(price(64_000)).toBe("64,000.00");
  expect(price(1.5, 4)).toBe("1.50");
  expect(price(undefined)).toBe("–");
  expect(price(Number.NaN)).toBe("–");
});

test("ages tell past from future", () => {
  const now = 1_700_000_000_000;
  expect(age(timestampFromMs(now - 90_000), now)).toBe("1 min ago");
  expect(age(timestampFromMs(now + 7_200_000), now)).toBe("in 2 h");
  expect(age(undefined, now)).toBe("never");
});

test("shares carry their sign and sizes their unit", () => {
  expect(ratio(0.0123)).toBe("+1.23 %");
  expect(ratio(-0.5, 0)).toBe("-50 %");
  expect(bytes(2048)).toBe("2.0 KiB");
  expect(bytes(5n * 1024n * 1024n * 1024n)).toBe("5.0 GiB");
});

test("enum values read as words", () => {
  expect(word({ 4: "BACKING_OFF" }, 4)).toBe("backing off");
  expect(word({ 0: "UNSPECIFIED" }, 0)).toBe("–");
});
