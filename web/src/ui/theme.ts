// Dark or light, for the page and for what is drawn on canvases. Dark unless the user chose otherwise on this machine.

import { useSyncExternalStore } from "react";

export type Theme = "dark" | "light";

const KEY = "quasar.theme";
const listeners = new Set<() => void>();
let theme: Theme = localStorage.getItem(KEY) === "light" ? "light" : "dark";

/** Puts the theme on the document; called once before anything is drawn, so that the door has it too. */
export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme;
}

export function toggleTheme(): void {
  theme = theme === "dark" ? "light" : "dark";
  localStorage.setItem(KEY, theme);
  applyTheme();
  for (const listener of listeners) listener();
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => theme,
  );
}

/** A colour of the palette as the canvas needs it. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** What every chart takes from the palette. */
export function chartColours() {
  return {
    layout: { background: { color: "transparent" }, textColor: colour("--muted") },
    grid: { vertLines: { color: colour("--line") }, horzLines: { color: colour("--line") } },
  };
}
