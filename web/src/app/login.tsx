import { createClient } from "@connectrpc/connect";
import { SystemService } from "@quasar/client/ops/v1/system_service";
import { useState, type FormEvent } from "react";
import { signIn } from "../rpc/session.ts";
import { gateway } from "../rpc/transport.ts";
import { Button, Failed, Field } from "../ui/kit.tsx";

export function Login() {
  const [token, setToken] = useState("");
  const [remember, setRemember] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    const bearer = token.trim();
    try {
      await createClient(SystemService, gateway).getCaller({}, { headers: { authorization: `Bearer ${bearer}` } });
      signIn(bearer, remember);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  }

  return (
    <main className="flex h-full items-center justify-center p-6">
      <form
        onSubmit={(event) => void submit(event)}
        className="flex w-full max-w-sm flex-col gap-4 rounded-lg border border-line bg-panel p-6"
      >
        <h1 className="flex items-center gap-2 text-lg font-semibold">
          <img src="/favicon.svg" alt="" width={24} height={24} /> Quasar
        </h1>
        <Field
          label="Access token"
          type="password"
          autoComplete="current-password"
          value={token}
          onChange={(event) => setToken(event.target.value)}
          placeholder="qsr_…"
          hint="The first one stands in ~/.quasar/admin.token; make others with `quasar token create`."
          required
        />
        <label className="flex items-center gap-2 text-sm text-muted">
          <input type="checkbox" checked={remember} onChange={(event) => setRemember(event.target.checked)} />
          Remember on this machine
        </label>
        {error != null && <Failed error={error} />}
        <Button type="submit" look="primary" busy={busy} disabled={!token.trim()}>
          Sign in
        </Button>
      </form>
    </main>
  );
}
