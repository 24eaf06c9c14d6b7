// Values of preferences as they are typed, and the change that a form makes of them.

import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { PreferenceType, type PreferenceField } from "@quasar/client/common/v1/code";

/** The value at a dotted path; undefined: there is none. */
export function valueAt(values: JsonObject, path: string): JsonValue | undefined {
  let found: JsonValue | undefined = values;
  for (const name of path.split("."))
    found = typeof found === "object" && found !== null && !Array.isArray(found) ? found[name] : undefined;
  return found;
}

/** Nests values by their dotted paths. */
export function changeOf(values: Record<string, JsonValue>): JsonObject {
  const change: JsonObject = {};
  for (const [path, value] of Object.entries(values)) {
    const names = path.split(".");
    const last = names.pop() ?? "";
    let place = change;
    for (const name of names) place = (place[name] ??= {}) as JsonObject;
    place[last] = value;
  }
  return change;
}

/** What a value looks like in an input; empty: not set. */
export function shown(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return "";
  return Array.isArray(value) ? value.map(shown).join(", ") : String(value);
}

/** What was typed, as a value; null takes a stored value away. What is no number stays text, which the service refuses in words. */
export function read(field: Pick<PreferenceField, "type" | "itemType">, text: string): JsonValue {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (field.type !== PreferenceType.LIST) return one(field.type, trimmed);
  return trimmed
    .split(",")
    .map((item) => item.trim())
    .filter(Boolean)
    .map((item) => one(field.itemType, item));
}

function one(type: PreferenceType, text: string): JsonValue {
  if (type === PreferenceType.BOOLEAN) return text === "true" ? true : text === "false" ? false : text;
  const number = type === PreferenceType.INTEGER || type === PreferenceType.NUMBER ? Number(text) : NaN;
  return Number.isFinite(number) ? number : text;
}
