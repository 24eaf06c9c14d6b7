import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { DecimalSchema } from "@quasar/client/common/v1/values";
import { expect, test } from "vitest";
import { age, amount, bytes, plain, price, ratio, share, span, utc, word } from "./format.ts";

test("small prices keep their digits and large ones grow none", () => {
  expect(price(0.00001234)).toBe("0.00001234");
  expect(price(64_000)).toBe("64,000.00");
  expect(price(1.5, 4)).toBe("1.5000");
  expect(price(undefined)).toBe("–");
  expect(price(Number.NaN)).toBe("–");
});

test("amounts keep the parts of a coin and shorten millions", () => {
  expect(amount(3.60312)).toBe("3.6031");
  expect(amount(400)).toBe("400");
  expect(amount(12_345.6)).toBe("12,346");
  expect(amount(7_654_321)).toBe("7.65M");
  expect(amount(0)).toBe("0");
  expect(amount(undefined)).toBe("–");
});

test("a candle's time is told in UTC", () => {
  expect(utc(1_700_000_000)).toBe("2023-11-14 22:13");
});

test("ages tell past from future", () => {
  const now = 1_700_000_000_000;
  expect(age(timestampFromMs(now - 90_000), now)).toBe("1 min ago");
  expect(age(timestampFromMs(now + 7_200_000), now)).toBe("in 2 h");
  expect(age(timestampFromMs(now), now)).toBe("now");
  expect(age(undefined, now)).toBe("never");
});

test("shares carry their sign and sizes their unit", () => {
  expect(ratio(0.0123)).toBe("+1.23 %");
  expect(ratio(-0.5, 0)).toBe("-50 %");
  expect(ratio(-0.00001)).toBe("0.00 %");
  expect(ratio(0.00001)).toBe("0.00 %");
  expect(share(-0.0001)).toBe("0.0 %");
  expect(bytes(2048)).toBe("2.0 KiB");
  expect(bytes(5n * 1024n * 1024n * 1024n)).toBe("5.0 GiB");
});

test("enum values read as words", () => {
  expect(word({ 4: "BACKING_OFF" }, 4)).toBe("backing off");
  expect(word({ 0: "UNSPECIFIED" }, 0)).toBe("–");
});

test("exact numbers keep all of their digits but the zeros behind them", () => {
  const shown = (value: string) => plain(create(DecimalSchema, { value }));
  expect(shown("0.50000000")).toBe("0.5");
  expect(shown("1234567.000000010")).toBe("1,234,567.00000001");
  expect(shown("-1000")).toBe("-1,000");
  expect(shown("100")).toBe("100");
  expect(plain(undefined)).toBe("–");
});

test("a range says its day once where it begins and ends on the same", () => {
  const at = (text: string) => timestampFromMs(Date.parse(text));
  expect(span(at("2026-11-22T16:46:00Z"), at("2026-11-22T16:47:00Z"))).toBe("2026-11-22 16:46 – 16:47");
  expect(span(at("2025-11-22T00:00:00Z"), at("2026-11-22T00:00:00Z"))).toBe("2025-11-22 00:00 – 2026-11-22 00:00");
  expect(span(undefined, undefined)).toBe("–");
});
