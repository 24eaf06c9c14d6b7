// What the forms of this page choose from and read: stored series, and parameters as JSON.

import type { JsonObject } from "@bufbuild/protobuf";
import { useQuery } from "@tanstack/react-query";
import { marketData } from "../../rpc/clients.ts";

export interface StoredSeries {
  provider: string;
  symbol: string;
  interval: string;
  /** Whether its symbol has live data. */
  live: boolean;
}

export function useStoredSeries(enabled: boolean): StoredSeries[] {
  const stored = useQuery({
    queryKey: ["search", ""],
    queryFn: async () => (await marketData.searchSeries({ query: "", pageSize: 500 })).matches,
    enabled,
  });
  return (stored.data ?? []).flatMap(({ symbol, intervals, hasLive }) =>
    intervals.map(({ interval }) => ({
      provider: symbol?.key?.provider ?? "",
      symbol: symbol?.key?.symbol ?? "",
      interval,
      live: hasLive,
    })),
  );
}

export const named = (item: StoredSeries) => `${item.provider} ${item.symbol} ${item.interval}`;

/** The JSON object that was typed; empty text is an empty one, and what is no object is null. */
export function parsed(text: string): JsonObject | null {
  if (!text.trim()) return {};
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
  } catch {
    return null;
  }
}

/** An identity made of a name: small letters, digits and "-", beginning with a letter. */
export function identity(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "")
    .slice(0, 63);
}
