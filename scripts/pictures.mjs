// Writes docs/pictures/page.png: the market page with live candles, dark, 1440 × 900. It needs a running platform with
// data (`quasar up`, then `quasar demo`) and Chromium:
//
//   node scripts/pictures.mjs                    the platform on this machine
//   QUASAR_URL=… QUASAR_TOKEN=… node scripts/pictures.mjs
//
// scripts/picture_console.py does the same for the console.

import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const FLAGS =
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const PLACE = "/markets/simulated/BTC%2FUSD?i=1min";

const home = process.env.QUASAR_HOME ?? join(homedir(), ".quasar");
const base = process.env.QUASAR_URL ?? `http://127.0.0.1:${process.env.QUASAR_GATEWAY_PORT ?? 8000}`;
const token = process.env.QUASAR_TOKEN ?? readFileSync(join(home, "admin.token"), "utf8").trim();
const pictures = join(dirname(fileURLToPath(import.meta.url)), "..", "docs", "pictures");
const executablePath =
    process.env.QUASAR_TEST_BROWSER ?? execFileSync("which", ["chromium"], { encoding: "utf8" }).trim();

const browser = await chromium.launch({ executablePath, args: FLAGS.split(" ") });
try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(base + PLACE);
    await page.getByLabel("Access token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("figure").waitFor();
    const last = page.getByText("Last", { exact: true }).locator("xpath=following-sibling::span");
    const before = await last.innerText();
    // A price that has moved shows that the candles live.
    while ((await last.innerText()) === before) await page.waitForTimeout(100);
    // The pointer stands where the button was; away from the chart it draws no cross.
    await page.mouse.move(100, 500);
    await page.waitForTimeout(500);
    mkdirSync(pictures, { recursive: true });
    await page.screenshot({ path: join(pictures, "page.png") });
} finally {
    await browser.close();
}
