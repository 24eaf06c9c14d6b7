// One preference as an input, built from what the contract says of it.

import type { JsonValue } from "@bufbuild/protobuf";
import { toJson } from "@bufbuild/protobuf";
import { ValueSchema, type Value } from "@bufbuild/protobuf/wkt";
import { PreferenceType, type PreferenceField } from "@quasar/client/common/v1/code";
import { useState } from "react";
import { Choice, Field } from "../../ui/kit.tsx";
import { read, shown } from "./preferences.ts";

const plain = (value: Value | undefined) => (value ? toJson(ValueSchema, value) : undefined);

function boundsOf({ minimum, maximum }: PreferenceField): string {
  if (minimum !== undefined && maximum !== undefined) return `From ${minimum} to ${maximum}.`;
  if (minimum !== undefined) return `At least ${minimum}.`;
  return maximum === undefined ? "" : `At most ${maximum}.`;
}

/** What the field is for, what is allowed, and what holds when it is left empty. */
function hintOf(field: PreferenceField): string {
  const fallback = shown(plain(field.defaultValue));
  return [
    /[.…]$/.test(field.description) ? field.description : `${field.description}.`,
    boundsOf(field),
    field.type === PreferenceType.LIST ? "Several are separated by commas." : "",
    field.required ? "Needed." : `Empty: ${fallback || "not set"}.`,
    field.needsRestart ? "Starts the provider again." : "",
  ]
    .filter((part) => part && part !== ".")
    .join(" ");
}

export function PreferenceInput({
  field,
  value,
  stored,
  onChange,
}: {
  field: PreferenceField;
  value: JsonValue | undefined;
  /** Whether somebody has set it; else its default is shown as what an empty field means. */
  stored: boolean;
  onChange: (value: JsonValue) => void;
}) {
  const [typed, setTyped] = useState(stored ? shown(value) : "");
  const label = field.unit ? `${field.path} (${field.unit})` : field.path;
  const change = (text: string) => {
    setTyped(text);
    onChange(read(field, text));
  };
  const fallback = shown(plain(field.defaultValue));
  const allowed =
    field.type === PreferenceType.BOOLEAN ? ["true", "false"] : field.allowed.map((item) => shown(plain(item)));
  if (allowed.length > 0 && field.type !== PreferenceType.LIST)
    return (
      <Choice label={label} value={typed} hint={hintOf(field)} onChange={(event) => change(event.target.value)}>
        <option value="">{fallback || "not set"} (default)</option>
        {allowed.map((item) => (
          <option key={item} value={item}>
            {item}
          </option>
        ))}
      </Choice>
    );
  const number = field.type === PreferenceType.INTEGER || field.type === PreferenceType.NUMBER;
  return (
    <Field
      label={label}
      inputMode={number ? "decimal" : "text"}
      value={typed}
      placeholder={fallback}
      hint={hintOf(field)}
      onChange={(event) => change(event.target.value)}
    />
  );
}
