import { Code, ConnectError } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import { backoffMs, follow, HIDDEN_MS, whileSeen, type LinkStatus } from "./stream.ts";

async function* messages(...items: (number | Error)[]): AsyncIterable<number> {
  for (const item of items) {
    if (item instanceof Error) throw item;
    yield item;
  }
}

test("a stream that breaks goes on, and every message arrives once", async () => {
  vi.useFakeTimers();
  const abort = new AbortController();
  const attempts = [messages(1, 2, new ConnectError("gone", Code.Unavailable)), messages(3)];
  const [seen, links]: [number[], LinkStatus["link"][]] = [[], []];
  const running = follow(
    () => attempts.shift() ?? messages(new ConnectError("gone", Code.Unavailable)),
    (message) => {
      seen.push(message);
      if (message === 3) abort.abort();
    },
    (status) => links.push(status.link),
    abort.signal,
  );
  await vi.runAllTimersAsync();
  await running;
  expect(seen).toEqual([1, 2, 3]);
  expect(links).toContain("reconnecting");
  vi.useRealTimers();
});

test("a refusal that waiting cannot mend ends the attempts and says why", async () => {
  const statuses: LinkStatus[] = [];
  const refuse = () => messages(new ConnectError("no such series", Code.NotFound));
  await follow(
    refuse,
    () => undefined,
    (status) => statuses.push(status),
    new AbortController().signal,
  );
  expect(statuses.at(-1)?.link).toBe("offline");
  expect(statuses.at(-1)?.failure?.message).toBe("no such series");
});

test("waits grow with each attempt and never pass ten seconds", () => {
  expect(backoffMs(0, () => 1)).toBe(300);
  expect(backoffMs(3, () => 1)).toBe(2400);
  expect(backoffMs(30, () => 1)).toBe(10_000);
});

test("a page out of sight lets its streams go, and takes them up when it is seen again", () => {
  vi.useFakeTimers();
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(false);
  const show = (seen: boolean) => {
    hidden.mockReturnValue(!seen);
    document.dispatchEvent(new Event("visibilitychange"));
  };
  const signals: AbortSignal[] = [];
  const end = whileSeen((signal) => signals.push(signal));

  show(false);
  vi.advanceTimersByTime(HIDDEN_MS - 1);
  show(true);
  expect(signals.map((signal) => signal.aborted)).toEqual([false]);

  show(false);
  vi.advanceTimersByTime(HIDDEN_MS);
  expect(signals.map((signal) => signal.aborted)).toEqual([true]);
  show(true);
  expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);

  end();
  expect(signals.every((signal) => signal.aborted)).toBe(true);
  hidden.mockRestore();
  vi.useRealTimers();
});
