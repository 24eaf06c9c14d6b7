// Every page in a window as narrow as a phone's: what lies beyond its edge, and what is cut off without a way to it.

import { base, drive } from "./browser.mjs";

const WIDTH = 390;
const table = (name) => (page) => page.getByRole("table", { name });
const PLACES = {
    overview: ["/", (page) => page.getByText("serving").nth(5)],
    providers: ["/providers", table("Providers")],
    subscriptions: ["/subscriptions", table("Subscriptions")],
    markets: ["/markets", table("Markets")],
    market: ["/markets/simulated/BTC%2FUSD?i=1min", (page) => page.getByRole("figure")],
    runs: ["/runs", table("Runs")],
    strategies: ["/strategies", (page) => page.getByText("Open orders")],
    events: ["/events", table("Events")],
};
const [folder] = process.argv.slice(2);

/** Runs in the page. What scrolls sideways by itself lets one get at what it holds. */
function beyond(width) {
    const scrolls = (element) => {
        for (let one = element.parentElement; one; one = one.parentElement)
            if (["auto", "scroll"].includes(getComputedStyle(one).overflowX) && one.tagName !== "MAIN") return true;
        return false;
    };
    const wrong = [];
    for (const element of document.querySelectorAll("main *, nav *, [role=dialog] *")) {
        const { left, right, width: own, height } = element.getBoundingClientRect();
        const seen = own > 1 && height > 1;
        if (seen && (right > width + 1 || left < -1) && !scrolls(element))
            wrong.push(`${element.tagName} ${(element.textContent ?? "").slice(0, 40)} ends at ${Math.round(right)}`);
    }
    for (const panel of document.querySelectorAll("main [class*=rounded-lg]")) {
        const edge = panel.getBoundingClientRect().right;
        for (const element of panel.querySelectorAll("button, td, span, p"))
            if (!scrolls(element) && element.getBoundingClientRect().right > edge + 1)
                wrong.push(`${element.tagName} ${(element.textContent ?? "").slice(0, 40)} leaves its panel`);
    }
    const sideways = document.documentElement.scrollWidth;
    if (sideways > width) wrong.push(`the page scrolls sideways to ${sideways}`);
    for (const table of document.querySelectorAll("main table"))
        if (table.scrollWidth > table.parentElement.clientWidth + 1) wrong.push(`${table.ariaLabel} scrolls sideways`);
    for (const cell of document.querySelectorAll("main td"))
        if (cell.scrollWidth > cell.clientWidth + 1)
            wrong.push(`${cell.dataset.head} ${cell.innerText} leaves its cell`);
    return wrong;
}

await drive(async (page) => {
    await page.setViewportSize({ width: WIDTH, height: 844 });
    const found = {};
    for (const [name, [path, ready]] of Object.entries(PLACES)) {
        await page.goto(base + path);
        await ready(page).first().waitFor();
        found[name] = await page.evaluate(beyond, WIDTH);
        if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: false });
    }
    await page.goto(`${base}/strategies`);
    await page.getByRole("button", { name: "Upload code" }).click();
    await page.getByRole("dialog", { name: "Upload code" }).waitFor();
    found.dialog = await page.evaluate(beyond, WIDTH);
    if (folder) await page.screenshot({ path: `${folder}/dialog.png` });
    return { found };
});
