// The page's own small set of parts. Each state that data can be in has one: loading, empty, failed, stale.

import { LoaderCircle } from "lucide-react";
import { Dialog as RadixDialog } from "radix-ui";
import type { ButtonHTMLAttributes, InputHTMLAttributes, ReactNode, SelectHTMLAttributes } from "react";
import { useEffect, useId, useRef } from "react";
import { failureOf } from "../rpc/errors.ts";

export function classes(...names: (string | false | null | undefined)[]): string {
  return names.filter(Boolean).join(" ");
}

export function Page({ title, actions, children }: { title: string; actions?: ReactNode; children: ReactNode }) {
  return (
    <section className="mx-auto flex w-full max-w-[1500px] flex-col gap-4 p-5">
      <header className="flex flex-wrap items-center justify-between gap-3">
        <h1 className="text-xl font-semibold">{title}</h1>
        <div className="flex flex-wrap items-center gap-2">{actions}</div>
      </header>
      {children}
    </section>
  );
}

export function Panel({ title, aside, children }: { title?: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <div className="rounded-lg border border-line bg-panel">
      {title && (
        <div className="flex flex-wrap items-center justify-between gap-x-3 gap-y-2 border-b border-line px-4 py-2.5">
          <h2 className="text-sm font-semibold">{title}</h2>
          {aside}
        </div>
      )}
      <Sideways>{children}</Sideways>
    </div>
  );
}

/** Scrolls sideways when its content is wider; only then the keyboard stops at it, to scroll by its arrows. */
function Sideways({ children }: { children: ReactNode }) {
  const holder = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = holder.current;
    if (!element) return;
    const look = () => {
      if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      else element.removeAttribute("tabindex");
    };
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    for (const child of element.children) sizes.observe(child);
    look();
    return () => sizes.disconnect();
  }, [children]);
  return (
    <div ref={holder} className="relative overflow-x-auto">
      {children}
    </div>
  );
}

type Look = "primary" | "plain" | "danger";

const LOOKS: Record<Look, string> = {
  primary: "bg-accent text-bg font-semibold hover:brightness-110",
  plain: "bg-panel2 border border-line hover:border-accent",
  danger: "border border-down text-down hover:bg-down hover:text-bg",
};

export function Button({
  look = "plain",
  busy,
  children,
  ...rest
}: ButtonHTMLAttributes<HTMLButtonElement> & { look?: Look; busy?: boolean }) {
  return (
    <button
      type="button"
      {...rest}
      disabled={rest.disabled || busy}
      className={classes(
        "inline-flex items-center gap-2 rounded-md px-3 py-1.5 text-sm disabled:cursor-not-allowed disabled:opacity-50",
        LOOKS[look],
      )}
    >
      {busy && <LoaderCircle size={14} className="animate-spin" aria-hidden />}
      {children}
    </button>
  );
}

const INPUT = "w-full rounded-md border border-line bg-bg px-3 py-1.5 text-sm placeholder:text-muted";

export function Field({
  label,
  hint,
  ...rest
}: InputHTMLAttributes<HTMLInputElement> & { label: string; hint?: string }) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="text-xs text-muted">
        {label}
      </label>
      <input id={id} {...rest} className={INPUT} />
      {hint && <span className="text-xs text-muted">{hint}</span>}
    </div>
  );
}

export function Choice({
  label,
  hint,
  children,
  ...rest
}: SelectHTMLAttributes<HTMLSelectElement> & { label: string; hint?: string }) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="text-xs text-muted">
        {label}
      </label>
      <select id={id} {...rest} className={INPUT}>
        {children}
      </select>
      {hint && <span className="text-xs text-muted">{hint}</span>}
    </div>
  );
}

export type Tone = "good" | "bad" | "warn" | "calm" | "info";

const TONES: Record<Tone, [string, string]> = {
  good: ["text-up", "●"],
  bad: ["text-down", "✕"],
  warn: ["text-warn", "▲"],
  calm: ["text-muted", "○"],
  info: ["text-accent", "◐"],
};

/** A state as glyph, colour and word, never colour alone. */
export function State({ tone, children }: { tone: Tone; children: ReactNode }) {
  const [colour, glyph] = TONES[tone];
  return (
    <span className={classes("inline-flex items-center gap-1.5 whitespace-nowrap", colour)}>
      <span aria-hidden>{glyph}</span>
      {children}
    </span>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <output className="flex items-center gap-2 px-4 py-6 text-muted">
      <LoaderCircle size={16} className="animate-spin" aria-hidden /> Loading {what} …
    </output>
  );
}

export function Empty({ children, action }: { children: ReactNode; action?: ReactNode }) {
  return (
    <div className="flex flex-col items-start gap-3 px-4 py-6 text-muted">
      <p>{children}</p>
      {action}
    </div>
  );
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const failure = failureOf(error);
  return (
    <div role="alert" className="flex flex-col gap-2 border-l-2 border-down px-4 py-3 text-sm">
      <p>{failure.message}</p>
      {failure.fields
        // A sentence that the message has already is not said again.
        .filter((field) => !failure.message.includes(field.description.replace(/\.$/, "")))
        .map((field) => (
          <p key={field.field} className="text-muted">
            <code>{field.field}</code>: {field.description}
          </p>
        ))}
      <p className="flex flex-wrap items-center gap-3 text-xs text-muted">
        <span>{failure.reason}</span>
        {failure.requestId && <span className="num">request {failure.requestId}</span>}
        {retry && <Button onClick={retry}>Try again</Button>}
      </p>
    </div>
  );
}

/** Says under a list that there is more of it than was read. */
export function More({ shown, token }: { shown: number; token: string }) {
  if (!token) return null;
  return (
    <p className="border-t border-line px-4 py-2 text-sm">
      <State tone="warn">These are the first {shown} of more.</State>
    </p>
  );
}

interface Query<T> {
  data: T | undefined;
  error: unknown;
  isPending: boolean;
  refetch: () => unknown;
}

/** Shows what a query brought, or the state that it is in. Data that was there stays while a refresh fails. */
export function Result<T>({
  query,
  what,
  children,
}: {
  query: Query<T>;
  what: string;
  children: (data: T) => ReactNode;
}) {
  if (query.data !== undefined)
    return (
      <>
        {query.error != null && <Failed error={query.error} retry={() => void query.refetch()} />}
        {children(query.data)}
      </>
    );
  if (query.isPending) return <Loading what={what} />;
  return <Failed error={query.error} retry={() => void query.refetch()} />;
}

export interface Column<T> {
  head: string;
  cell: (row: T) => ReactNode;
  right?: boolean;
  /** The head is for screen readers only: the column holds buttons. */
  unseen?: boolean;
}

/** What is short stays on one line: "5 min ago" broken in two reads as two things. */
const NO_BREAK_UNDER = 22;

/** In a narrow window each row becomes a card of named values; Safari takes that for no table unless it is told. */
const ROLES = {
  table: { role: "table" },
  rowgroup: { role: "rowgroup" },
  row: { role: "row" },
  columnheader: { role: "columnheader" },
  cell: { role: "cell" },
};

export function Table<T>({
  rows,
  columns,
  rowKey,
  empty,
  emptyAction,
  onOpen,
  label,
}: {
  rows: T[];
  columns: Column<T>[];
  rowKey: (row: T) => string;
  empty: ReactNode;
  emptyAction?: ReactNode;
  onOpen?: (row: T) => void;
  label: string;
}) {
  if (rows.length === 0) return <Empty action={emptyAction}>{empty}</Empty>;
  return (
    <table {...ROLES.table} className="stacks w-full border-collapse text-sm" aria-label={label}>
      <thead {...ROLES.rowgroup}>
        <tr {...ROLES.row} className="text-left text-xs text-muted">
          {columns.map((column) => (
            <th
              key={column.head}
              {...ROLES.columnheader}
              className={classes("px-4 py-2 font-medium whitespace-nowrap", column.right && "text-right")}
            >
              {column.unseen ? <span className="sr-only">{column.head}</span> : column.head}
            </th>
          ))}
        </tr>
      </thead>
      <tbody {...ROLES.rowgroup}>
        {rows.map((row) => (
          <tr
            key={rowKey(row)}
            {...ROLES.row}
            className={classes("border-t border-line", onOpen && "cursor-pointer hover:bg-panel2")}
            onClick={onOpen && (() => onOpen(row))}
          >
            {columns.map((column, index) => {
              const cell = column.cell(row);
              const short = column.right || (typeof cell === "string" && cell.length < NO_BREAK_UNDER);
              return (
                <td
                  key={column.head}
                  {...ROLES.cell}
                  data-head={column.unseen ? undefined : column.head}
                  className={classes("px-4 py-2", short && "whitespace-nowrap", column.right && "num text-right")}
                >
                  {onOpen && index === 0 ? (
                    // The row takes the click; the keyboard needs something to stop at, whose click rises to the row.
                    <button type="button" className="cursor-pointer text-left">
                      {cell}
                    </button>
                  ) : (
                    cell
                  )}
                </td>
              );
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function Dialog({
  open,
  onClose,
  title,
  children,
}: {
  open: boolean;
  onClose: () => void;
  title: string;
  children: ReactNode;
}) {
  return (
    <RadixDialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <RadixDialog.Portal>
        <RadixDialog.Overlay className="fixed inset-0 bg-black/60" />
        <RadixDialog.Content
          aria-describedby={undefined}
          className="fixed top-1/2 left-1/2 max-h-[88vh] w-[min(640px,94vw)] -translate-x-1/2 -translate-y-1/2 overflow-auto rounded-lg border border-line bg-panel p-5"
        >
          <RadixDialog.Title className="mb-4 text-base font-semibold">{title}</RadixDialog.Title>
          {children}
        </RadixDialog.Content>
      </RadixDialog.Portal>
    </RadixDialog.Root>
  );
}

export function Figure({
  label,
  children,
  tone,
}: {
  label: string;
  children: ReactNode;
  tone?: "up" | "down" | undefined;
}) {
  return (
    <div className="flex flex-col gap-0.5 px-4 py-3">
      <span className="text-xs text-muted">{label}</span>
      <span className={classes("num text-lg", tone === "up" && "text-up", tone === "down" && "text-down")}>
        {children}
      </span>
    </div>
  );
}

export function Sparkline({ values, label }: { values: number[]; label: string }) {
  if (values.length < 2) return <span className="text-muted">–</span>;
  const low = Math.min(...values);
  const span = Math.max(...values) - low || 1;
  const step = 64 / (values.length - 1);
  const points = values.map((value, i) => `${(i * step).toFixed(1)},${(22 - (20 * (value - low)) / span).toFixed(1)}`);
  const rising = (values.at(-1) ?? 0) >= (values[0] ?? 0);
  return (
    <svg width="64" height="24" role="img" aria-label={label} className={rising ? "text-up" : "text-down"}>
      <polyline points={points.join(" ")} fill="none" stroke="currentColor" strokeWidth="1.4" />
    </svg>
  );
}
