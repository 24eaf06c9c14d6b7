// A server stream that lives as long as somebody looks at it: it reconnects with jitter and goes on where it stopped.

import { useEffect, useSyncExternalStore } from "react";
import { failureOf, type Failure } from "./errors.ts";

export type Link = "connecting" | "live" | "reconnecting" | "offline";

export interface LinkStatus {
  link: Link;
  failure: Failure | null;
  /** Milliseconds since 1970 of the last message. */
  lastMessage: number;
}

/** Opens one attempt of a stream; the store calls it again, with the same object, after a break. */
export type Open<T> = (signal: AbortSignal) => AsyncIterable<T>;

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 10_000;

export function backoffMs(attempt: number, random: () => number = Math.random): number {
  return random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
}

/** Runs a stream into `onMessage` until the signal aborts; tells `onStatus` how it goes. */
export async function follow<T>(
  open: Open<T>,
  onMessage: (message: T) => void,
  onStatus: (status: LinkStatus) => void,
  signal: AbortSignal,
): Promise<void> {
  let attempt = 0;
  let lastMessage = 0;
  onStatus({ link: "connecting", failure: null, lastMessage });
  while (!signal.aborted) {
    let failure: Failure | null = null;
    try {
      for await (const message of open(signal)) {
        attempt = 0;
        lastMessage = Date.now();
        onMessage(message);
        onStatus({ link: "live", failure: null, lastMessage });
      }
    } catch (error) {
      failure = failureOf(error);
    }
    if (signal.aborted) return;
    if (failure && !failure.retryable && failure.reason !== "INTERNAL" && failure.reason !== "Unknown") {
      onStatus({ link: "offline", failure, lastMessage });
      return;
    }
    onStatus({ link: "reconnecting", failure, lastMessage });
    await pause(backoffMs(attempt++), signal);
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal.addEventListener("abort", done, { once: true });
  });
}

/** State that a stream writes and components read; readers are told once a frame at most. */
export class StreamStore<S> {
  private state: S;
  private readonly listeners = new Set<() => void>();
  private scheduled = false;

  constructor(initial: S) {
    this.state = initial;
  }

  get = (): S => this.state;

  set(next: S): void {
    this.state = next;
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      for (const listener of this.listeners) listener();
    });
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };
}

export function useStore<S>(store: StreamStore<S>): S {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** Follows a stream while the component is mounted; `key` says when it is another stream. */
export function useFollow<T>(
  key: string,
  open: Open<T>,
  onMessage: (message: T) => void,
  onStatus: (status: LinkStatus) => void,
): void {
  useEffect(() => {
    const abort = new AbortController();
    void follow(open, onMessage, onStatus, abort.signal);
    return () => abort.abort();
    // The callbacks belong to the key: a new key brings new ones.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [key]);
}
