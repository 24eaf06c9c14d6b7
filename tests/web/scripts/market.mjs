import { base, changed, drive, figure } from "./browser.mjs";

await drive(async (page) => {
    const last = figure(page, "Last");
    const link = page.locator("[aria-live=polite]").first();
    await page.goto(`${base}/markets`);
    await page.getByRole("button", { name: "BTC/USD" }).press("Enter");
    await page.getByRole("figure", { name: "BTC/USD, 1min candles" }).waitFor();
    const canvases = await page.locator("figure canvas").count();
    const address = new URL(page.url()).pathname;
    await link.filter({ hasText: /live$/ }).waitFor();
    const first = await changed(last, "–");
    const second = await changed(last, first);

    await page.reload();
    await link.filter({ hasText: /live$/ }).waitFor();
    const afterReload = await changed(last, "–");
    const onward = await changed(last, afterReload);

    await page.getByRole("button", { name: "Show as table" }).click();
    const rows = page.getByRole("table", { name: "Bars" }).getByRole("row");
    const table = { rows: await rows.count(), heads: await rows.first().innerText() };

    await page.getByRole("button", { name: "Show as chart" }).click();
    // Nobody subscribed to these: they are computed from the minutes, and move with the trades.
    const moves = {};
    for (const interval of ["5min", "15min", "1h", "1d"]) {
        await page.getByRole("button", { name: interval, exact: true }).click();
        await page.getByRole("figure", { name: `BTC/USD, ${interval} candles` }).waitFor();
        moves[new URL(page.url()).searchParams.get("i")] = (await changed(last, await last.innerText())) !== "";
    }
    await page.getByRole("button", { name: "1min", exact: true }).click();
    await page.getByRole("figure", { name: "BTC/USD, 1min candles" }).waitFor();

    await page.goto(`${base}/markets/simulated/NOPE?i=1min`);
    const unknown = await page.getByText("No 1min bars of NOPE are stored.").innerText();
    return { canvases, address, first, second, afterReload, onward, table, moves, unknown };
});
