import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// In development the page is served here and its calls go to a gateway that runs beside it.
const gateway = process.env["QUASAR_GATEWAY"] ?? "http://127.0.0.1:8000";
const grpc = "^/(registry/|datahub/|strategy/)?(quasar|grpc)\\.";

export default defineConfig({
  plugins: [react(), tailwindcss()],
  server: { proxy: { [grpc]: { target: gateway, changeOrigin: false } } },
  build: { target: "es2022", sourcemap: true, chunkSizeWarningLimit: 700 },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
