// An open page whose network goes, and whose services stop and start again: it says so, comes back, and has every candle.
// Speaks with the test: it prints {"kill": "gateway"} and reads a line when that is done. What is killed is started again.

import { createInterface } from "node:readline";
import { base, changed, drive, figure, signIn, token } from "./browser.mjs";

const input = createInterface({ input: process.stdin });
const lines = input[Symbol.asyncIterator]();
async function kill(part) {
    process.stdout.write(`${JSON.stringify({ kill: part })}\n`);
    await lines.next();
}

/** The bars that the table shows, newest first. */
async function bars(page) {
    await page.getByRole("button", { name: "Show as table" }).click();
    const rows = page.getByRole("table", { name: "Bars" }).locator("tbody tr");
    const found = await rows.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.innerText)));
    await page.getByRole("button", { name: "Show as chart" }).click();
    return found;
}

/** Whether the minutes that are over are the same; the newest one of either still forms. */
function same(some, others) {
    const over = (rows) => new Map(rows.slice(1, 31).map((row) => [row[0], row.join()]));
    const [one, other] = [over(some), over(others)];
    return [...one].every(([time, row]) => !other.has(time) || other.get(time) === row);
}

/** How many charts are drawn. */
function figures(page) {
    return page.locator("figure canvas").count();
}

await drive(async (page) => {
    const last = figure(page, "Last");
    const link = page.locator("[aria-live=polite]").first();
    const live = () => link.filter({ hasText: /live$/ }).waitFor({ timeout: 120_000 });
    await page.goto(`${base}/markets/simulated/BTC%2FUSD?i=1min`);
    await live();
    await changed(last, "–");

    // A stream that is open lives on in an offline browser, so the connection ends as well.
    await page.context().setOffline(true);
    await kill("gateway");
    await link.filter({ hasText: "reconnecting" }).waitFor();
    await link.filter({ hasText: "does not answer" }).waitFor();
    const cut = { said: await link.innerText(), last: await last.innerText(), drawn: await figures(page) };
    await page.context().setOffline(false);
    await live();
    const onward = await changed(last, cut.last);

    const atBreak = (await bars(page))[0][0];
    await kill("datahub");
    await link.filter({ hasText: "reconnecting" }).waitFor();
    const restart = { said: await link.innerText(), drawn: await figures(page) };
    await live();
    await changed(last, await last.innerText(), 120_000);
    // What is mended is shown without a reload: after a while the page has what a fresh one has.
    const fresh = await page.context().newPage();
    await signIn(fresh, token);
    let shown, reloaded;
    for (const ends = Date.now() + 120_000; Date.now() < ends; await page.waitForTimeout(2_000)) {
        await fresh.goto(page.url());
        [shown, reloaded] = [await bars(page), await bars(fresh)];
        if (shown[0][0] > atBreak && same(shown, reloaded)) break;
    }
    return { cut, onward, restart, atBreak, shown, reloaded };
});
// An input that is open keeps a program from its end.
input.close();
process.stdin.destroy();
