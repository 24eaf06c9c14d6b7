import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode, useSyncExternalStore } from "react";
import { createRoot } from "react-dom/client";
import { ErrorBoundary } from "react-error-boundary";
import { Toaster } from "sonner";
import { failureOf } from "../rpc/errors.ts";
import { currentToken, onSession } from "../rpc/session.ts";
import "../styles.css";
import { Failed } from "../ui/kit.tsx";
import { Login } from "./login.tsx";
import { applyTheme, useTheme } from "../ui/theme.ts";
import { router } from "./router.tsx";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) => failures < 3 && failureOf(error).retryable,
    },
  },
});

function App() {
  const token = useSyncExternalStore(onSession, currentToken);
  if (!token) {
    client.clear();
    return <Login />;
  }
  return (
    <ErrorBoundary
      FallbackComponent={({ error, resetErrorBoundary }) => <Failed error={error} retry={resetErrorBoundary} />}
    >
      <RouterProvider router={router} />
    </ErrorBoundary>
  );
}

function Toasts() {
  return <Toaster position="bottom-right" theme={useTheme()} richColors />;
}

applyTheme();
const element = document.getElementById("root");
if (!element) throw new Error("index.html must hold an element with the id root");
createRoot(element).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <App />
      <Toasts />
    </QueryClientProvider>
  </StrictMode>,
);
