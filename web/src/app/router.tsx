import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Empty } from "../ui/kit.tsx";
import { Shell } from "./shell.tsx";

const root = createRootRoute({
  component: Shell,
  notFoundComponent: () => <Empty>There is no page at this address.</Empty>,
});

const text = (value: unknown, fallback: string) => (typeof value === "string" && value ? value : fallback);

export const overview = createRoute({
  getParentRoute: () => root,
  path: "/",
  component: lazyRouteComponent(() => import("../features/overview/page.tsx"), "OverviewPage"),
});
export const providers = createRoute({
  getParentRoute: () => root,
  path: "/providers",
  component: lazyRouteComponent(() => import("../features/providers/page.tsx"), "ProvidersPage"),
});
export const subscriptions = createRoute({
  getParentRoute: () => root,
  path: "/subscriptions",
  validateSearch: (search: Record<string, unknown>) => ({ filter: text(search["filter"], "") }),
  component: lazyRouteComponent(() => import("../features/subscriptions/page.tsx"), "SubscriptionsPage"),
});
export const markets = createRoute({
  getParentRoute: () => root,
  path: "/markets",
  component: lazyRouteComponent(() => import("../features/market/list.tsx"), "MarketsPage"),
});
export const market = createRoute({
  getParentRoute: () => root,
  path: "/markets/$provider/$symbol",
  validateSearch: (search: Record<string, unknown>) => ({ i: text(search["i"], "1min") }),
  component: lazyRouteComponent(() => import("../features/market/page.tsx"), "MarketPage"),
});
export const runs = createRoute({
  getParentRoute: () => root,
  path: "/runs",
  component: lazyRouteComponent(() => import("../features/runs/page.tsx"), "RunsPage"),
});
export const strategies = createRoute({
  getParentRoute: () => root,
  path: "/strategies",
  component: lazyRouteComponent(() => import("../features/strategies/page.tsx"), "StrategiesPage"),
});
export const backtest = createRoute({
  getParentRoute: () => root,
  path: "/backtests/$backtestId",
  component: lazyRouteComponent(() => import("../features/strategies/backtest.tsx"), "BacktestPage"),
});
export const events = createRoute({
  getParentRoute: () => root,
  path: "/events",
  component: lazyRouteComponent(() => import("../features/events/page.tsx"), "EventsPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([
    overview,
    providers,
    subscriptions,
    markets,
    market,
    runs,
    strategies,
    backtest,
    events,
  ]),
  defaultPreload: "intent",
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
