import { PreferenceType } from "@quasar/client/common/v1/code";
import { expect, test } from "vitest";
import { changeOf, read, shown, valueAt } from "./preferences.ts";

const of = (type: PreferenceType, itemType = PreferenceType.UNSPECIFIED) => ({ type, itemType });

test("values are found at dotted paths, and a change is nested by them", () => {
  const values = { scheduling: { delay_hours: 3 }, folder: "/bars" };
  expect(valueAt(values, "scheduling.delay_hours")).toBe(3);
  expect(valueAt(values, "folder")).toBe("/bars");
  expect(valueAt(values, "folder.deeper")).toBeUndefined();
  expect(changeOf({ "scheduling.delay_hours": 4, "data.lookback_days": null, folder: "/new" })).toEqual({
    scheduling: { delay_hours: 4 },
    data: { lookback_days: null },
    folder: "/new",
  });
});

test("what is typed becomes a value of the type, and nothing becomes not set", () => {
  expect(read(of(PreferenceType.INTEGER), " 12 ")).toBe(12);
  expect(read(of(PreferenceType.NUMBER), "0.25")).toBe(0.25);
  expect(read(of(PreferenceType.INTEGER), "twelve")).toBe("twelve");
  expect(read(of(PreferenceType.STRING), "12")).toBe("12");
  expect(read(of(PreferenceType.BOOLEAN), "true")).toBe(true);
  expect(read(of(PreferenceType.STRING), "  ")).toBeNull();
  expect(read(of(PreferenceType.LIST, PreferenceType.INTEGER), "1, 2,")).toEqual([1, 2]);
});

test("lists and what is not set are shown as they are typed", () => {
  expect(shown([1, 2])).toBe("1, 2");
  expect(shown(null)).toBe("");
  expect(shown(false)).toBe("false");
});
