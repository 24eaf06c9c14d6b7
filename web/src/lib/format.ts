// How values look, the same on every page.

import type { Timestamp } from "@bufbuild/protobuf/wkt";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { Decimal } from "@quasar/client/common/v1/values";

const AGES: [number, string][] = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

/** A price with its instrument's decimals, else with those that its size asks for: 0.00001234 keeps its digits. */
export function price(value: number | undefined, decimals?: number): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (decimals !== undefined)
    return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
  const magnitude = Math.abs(value);
  const digits = magnitude === 0 || magnitude >= 1 ? 2 : Math.min(10, 3 - Math.floor(Math.log10(magnitude)));
  return value.toLocaleString("en-US", { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits });
}

export function count(value: number | bigint | undefined): string {
  return value === undefined ? "–" : Number(value).toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** An amount traded: whole units of a share, parts of a coin, millions in short. */
export function amount(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (Math.abs(value) >= 1e6)
    return value.toLocaleString("en-US", { notation: "compact", minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const digits =
    Math.abs(value) >= 1000 || Number.isInteger(value) ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 5 };
  return value.toLocaleString("en-US", digits);
}

export function ratio(value: number | undefined, digits = 2): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  const text = percent(value, digits);
  return value > 0 && Number.parseFloat(text) !== 0 ? `+${text}` : text;
}

export function share(value: number | undefined, digits = 1): string {
  return value === undefined || Number.isNaN(value) ? "–" : percent(value, digits);
}

/** In hundredths; what rounds to nothing has no sign. */
function percent(value: number, digits: number): string {
  const rounded = (100 * value).toFixed(digits);
  return `${Number(rounded) === 0 ? rounded.replace("-", "") : rounded} %`;
}

export function decimal(value: Decimal | undefined, digits = 2): string {
  if (!value) return "–";
  return Number(value.value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** An exact number with all of its digits but the zeros behind them. */
export function plain(value: Decimal | undefined): string {
  if (!value) return "–";
  const [whole = "", rest = ""] = value.value.split(".");
  const digits = rest.replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (digits && `.${digits}`);
}

export function time(value: Timestamp | undefined): string {
  return value ? timestampDate(value).toISOString().replace("T", " ").slice(0, 19) : "–";
}

/** From when to when, to the minute; the day is said once where it is the same. */
export function span(start: Timestamp | undefined, end: Timestamp | undefined): string {
  if (!start && !end) return "–";
  const [from, to] = [time(start).slice(0, 16), time(end).slice(0, 16)];
  return `${from} – ${from.slice(0, 10) === to.slice(0, 10) ? to.slice(11) : to}`;
}

/** Seconds since 1970 as a time of day in UTC. */
export function utc(seconds: number): string {
  return new Date(1000 * seconds).toISOString().replace("T", " ").slice(0, 16);
}

export function age(value: Timestamp | undefined, now: number = Date.now()): string {
  if (!value) return "never";
  const seconds = Math.round((now - timestampDate(value).getTime()) / 1000);
  const [span, word] = seconds < 0 ? [-seconds, "in"] : [seconds, "ago"];
  if (span === 0) return "now";
  const [unit, name] = AGES.find(([size]) => span >= size) ?? [1, "s"];
  const text = `${Math.floor(span / unit)} ${name}`;
  return word === "in" ? `in ${text}` : `${text} ago`;
}

export function bytes(value: number | bigint | undefined): string {
  if (value === undefined) return "–";
  let left = Number(value);
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (left < 1024) return `${left.toFixed(left < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    left /= 1024;
  }
  return `${left.toFixed(1)} TiB`;
}

/** The word of an enum value: `RunState.BACKING_OFF` → "backing off". */
export function word(names: Record<number, string>, value: number): string {
  const name = names[value];
  return !name || name === "UNSPECIFIED" ? "–" : name.toLowerCase().replaceAll("_", " ");
}
