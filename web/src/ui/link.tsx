import type { LinkStatus } from "../rpc/stream.ts";
import { State } from "./kit.tsx";

/** How a live connection is, told politely to screen readers when it changes. */
export function LinkPill({ status }: { status: LinkStatus }) {
  const since = status.lastMessage ? ` · last ${new Date(status.lastMessage).toLocaleTimeString()}` : "";
  return (
    <span aria-live="polite" className="text-xs">
      {status.link === "live" && <State tone="good">live</State>}
      {status.link === "connecting" && <State tone="info">connecting</State>}
      {status.link === "reconnecting" && (
        <State tone="warn">
          reconnecting{since} {status.failure && `· ${status.failure.message}`}
        </State>
      )}
      {status.link === "offline" && <State tone="bad">{status.failure?.message ?? `offline${since}`}</State>}
    </span>
  );
}
