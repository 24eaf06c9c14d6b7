// What every script of this folder does: open the page in a browser, do its work, print one JSON object.

import { chromium } from "playwright-core";

const FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
export const base = process.env.PAGE_URL;
export const token = process.env.PAGE_TOKEN;

/** Runs `work(page)`, and prints what it returns together with all that the browser complained of. */
export async function drive(work, { signedIn = true } = {}) {
    const browser = await chromium.launch({ executablePath: process.env.PAGE_BROWSER, args: FLAGS });
    const complaints = [];
    try {
        const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
        const page = await context.newPage();
        page.setDefaultTimeout(60_000);
        page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
        page.on("console", (message) => {
            if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
        });
        if (signedIn) await signIn(page, token);
        const found = await work(page);
        console.log(JSON.stringify({ ...found, complaints }));
    } finally {
        await browser.close();
    }
}

export async function signIn(page, bearer) {
    await page.goto(base);
    await page.getByLabel("Access token").fill(bearer);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Overview" }).waitFor();
}

/** The value of a labelled figure. */
export function figure(page, label) {
    return page.getByText(label, { exact: true }).locator("xpath=following-sibling::span");
}

/** Waits until a locator's text is another one, and returns that. */
export async function changed(locator, before, patienceMs = 60_000) {
    for (const ends = Date.now() + patienceMs; Date.now() < ends;) {
        const now = await locator.innerText();
        if (now !== before && now !== "–") return now;
        await locator.page().waitForTimeout(50);
    }
    throw new Error(`must change, stayed ${before}`);
}
