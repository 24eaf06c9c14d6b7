// Other grpc-web clients than the page: bundled, then run in the browser on the page's own origin.

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { base, drive, token } from "./browser.mjs";

const CLIENTS = join(dirname(fileURLToPath(import.meta.url)), "..", "clients");

async function bundled(name, format) {
    const bundle = await rolldown({ input: join(CLIENTS, name), logLevel: "silent" });
    const { output } = await bundle.generate({ format, name: "client" });
    await bundle.close();
    return output[0].code;
}

const connect = await bundled("connect.ts", "esm");
const { run } = await import(`data:text/javascript;base64,${Buffer.from(connect).toString("base64")}`);
const node = await run(base, token);
const official = await bundled("official.ts", "iife");

await drive(
    async (page) => {
        await page.goto(base);
        await page.evaluate(`${official}; globalThis.client = client;`);
        const call = (format) =>
            page.evaluate(([url, bearer, as]) => globalThis.client.run(url, bearer, as), [base, token, format]);
        return { node, text: await call("text"), binary: await call("binary") };
    },
    { signedIn: false },
);
