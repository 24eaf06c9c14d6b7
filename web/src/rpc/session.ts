// Who is signed in. The token stays in this tab unless the user asks to be remembered on this machine.

const KEY = "quasar.token";

type Listener = () => void;
const listeners = new Set<Listener>();
let token = sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);

export function currentToken(): string | null {
  return token;
}

export function signIn(bearer: string, remember: boolean): void {
  token = bearer;
  (remember ? localStorage : sessionStorage).setItem(KEY, bearer);
  for (const listener of listeners) listener();
}

export function signOut(): void {
  token = null;
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  for (const listener of listeners) listener();
}

export function onSession(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
