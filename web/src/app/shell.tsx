import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import {
  Activity,
  CandlestickChart,
  Clock,
  LayoutDashboard,
  ListChecks,
  LogOut,
  Moon,
  Plug,
  Sun,
  Workflow,
} from "lucide-react";
import { useEffect, useState } from "react";
import { tinykeys } from "tinykeys";
import { signOut } from "../rpc/session.ts";
import { Dialog } from "../ui/kit.tsx";
import { toggleTheme, useTheme } from "../ui/theme.ts";

const PLACES = [
  { to: "/", label: "Overview", key: "o", icon: LayoutDashboard },
  { to: "/providers", label: "Providers", key: "p", icon: Plug },
  { to: "/subscriptions", label: "Subscriptions", key: "s", icon: ListChecks },
  { to: "/markets", label: "Markets", key: "m", icon: CandlestickChart },
  { to: "/runs", label: "Runs and gaps", key: "r", icon: Clock },
  { to: "/strategies", label: "Strategies", key: "t", icon: Workflow },
  { to: "/events", label: "Events", key: "e", icon: Activity },
] as const;

export function Shell() {
  const navigate = useNavigate();
  const [help, setHelp] = useState(false);
  const theme = useTheme();

  useEffect(() => {
    const typing = (event: KeyboardEvent) => (event.target as HTMLElement).closest("input, textarea, select") !== null;
    const goes = PLACES.map(({ to, key }) => [
      `g ${key}`,
      (event: KeyboardEvent) => !typing(event) && void navigate({ to }),
    ]);
    return tinykeys(window, {
      ...Object.fromEntries(goes),
      "Shift+?": (event) => {
        if (!typing(event)) setHelp(true);
      },
    });
  }, [navigate]);

  return (
    <div className="flex h-full">
      <nav aria-label="Main" className="flex w-14 shrink-0 flex-col border-r border-line bg-panel lg:w-52">
        <div className="flex items-center gap-2 px-4 py-4 font-semibold">
          <img src="/favicon.svg" alt="" width={22} height={22} />
          <span className="hidden lg:inline">Quasar</span>
        </div>
        {PLACES.map(({ to, label, icon: Icon }) => (
          <Link
            key={to}
            to={to}
            activeOptions={{ exact: to === "/" }}
            className="flex items-center gap-3 px-4 py-2 text-sm text-muted hover:text-text"
            activeProps={{ className: "!text-text bg-panel2 border-l-2 border-accent" }}
            title={label}
          >
            <Icon size={17} aria-hidden />
            <span className="hidden lg:inline">{label}</span>
            <span className="sr-only lg:hidden">{label}</span>
          </Link>
        ))}
        <div className="mt-auto flex flex-col gap-1 p-2">
          <button
            type="button"
            onClick={toggleTheme}
            className="flex items-center gap-3 px-2 py-2 text-sm text-muted hover:text-text"
          >
            {theme === "dark" ? <Sun size={17} aria-hidden /> : <Moon size={17} aria-hidden />}
            <span className="hidden lg:inline">{theme === "dark" ? "Light" : "Dark"} theme</span>
            <span className="sr-only lg:hidden">Change theme</span>
          </button>
          <button
            type="button"
            onClick={signOut}
            className="flex items-center gap-3 px-2 py-2 text-sm text-muted hover:text-text"
          >
            <LogOut size={17} aria-hidden />
            <span className="hidden lg:inline">Sign out</span>
            <span className="sr-only lg:hidden">Sign out</span>
          </button>
        </div>
      </nav>
      {/* A region that scrolls must take the focus, or a keyboard cannot scroll a page without a link in it. */}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <main className="min-w-0 flex-1 overflow-auto outline-none" tabIndex={0}>
        <Outlet />
      </main>
      <Dialog open={help} onClose={() => setHelp(false)} title="Keys">
        <dl className="grid grid-cols-[8rem_1fr] gap-y-2 text-sm">
          {PLACES.map(({ key, label }) => (
            <div key={key} className="contents">
              <dt>
                <kbd className="rounded border border-line px-1.5">g</kbd>{" "}
                <kbd className="rounded border border-line px-1.5">{key}</kbd>
              </dt>
              <dd>{label}</dd>
            </div>
          ))}
          <dt>
            <kbd className="rounded border border-line px-1.5">?</kbd>
          </dt>
          <dd>This sheet</dd>
        </dl>
      </Dialog>
    </div>
  );
}
