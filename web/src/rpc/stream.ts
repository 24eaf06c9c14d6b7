// A server stream that lives as long as somebody looks at it: it reconnects with jitter and goes on where it stopped.

import { useEffect, useState, useSyncExternalStore } from "react";
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
    if (failure?.final) {
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

/** A store that begins anew when `key` changes. */
export function useStreamStore<S>(key: string, initial: S): StreamStore<S> {
  const [made, setMade] = useState(() => ({ key, store: new StreamStore(initial) }));
  if (made.key === key) return made.store;
  const next = { key, store: new StreamStore(initial) };
  setMade(next);
  return next.store;
}

export function useStore<S>(store: StreamStore<S>): S {
  return useSyncExternalStore(store.subscribe, store.get);
}

/** How long a page may be out of sight until its streams are let go. */
export const HIDDEN_MS = 5_000;

/**
 * Runs `work` while the page can be seen, and anew when it comes back; returns what ends it.
 * A browser opens six connections to one address for all its tabs together: tabs in the back would hold them all.
 */
export function whileSeen(work: (signal: AbortSignal) => void): () => void {
  let running: AbortController | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () => {
    running?.abort();
    running = null;
  };
  const look = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(stop, HIDDEN_MS);
    else if (!running) {
      running = new AbortController();
      work(running.signal);
    }
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    clearTimeout(timer);
    stop();
  };
}

/** Follows a stream while the component is mounted and seen; `key` says when it is another stream, null: none. */
export function useFollow<T>(
  key: string | null,
  open: Open<T>,
  onMessage: (message: T) => void,
  onStatus: (status: LinkStatus) => void,
): void {
  useEffect(() => {
    if (key === null) return;
    return whileSeen((signal) => void follow(open, onMessage, onStatus, signal));
    // The callbacks belong to the key: a new key brings new ones.
    // oxlint-disable-next-line react-hooks/exhaustive-deps
  }, [key]);
}
