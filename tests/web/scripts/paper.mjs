// A strategy is put on paper from the page: bad figures are refused in words, then it runs, and a name is taken once.

import { base, drive } from "./browser.mjs";

const [strategy] = process.argv.slice(2);

await drive(async (page) => {
    await page.goto(`${base}/strategies`);
    const dialog = page.getByRole("dialog", { name: "Run on paper" });
    const fill = async (cash, parameters) => {
        await page.getByRole("button", { name: "Run on paper" }).click();
        await dialog.getByLabel("Strategy", { exact: true }).selectOption(strategy);
        await dialog.getByLabel("Live bars").selectOption("BTC/USD 1min (simulated)");
        await dialog.getByLabel("Name").fill("BTC by hand");
        await dialog.getByLabel("Paper account").fill("by-hand");
        await dialog.getByLabel("Cash that it may use").fill(cash);
        await dialog.getByLabel("Parameters").fill(parameters);
    };
    const start = () => dialog.getByRole("button", { name: "Start it" }).click();
    const refused = () => dialog.getByRole("alert").innerText();

    await fill("much", '{"fast": 2, "slow": 5}');
    const known = await dialog.getByText(/^Known as/).innerText();
    await start();
    const cash = await refused();
    await dialog.getByLabel("Cash that it may use").fill("5000");
    await dialog.getByLabel("Parameters").fill('{"fast": 0}');
    await start();
    await dialog.getByRole("alert").filter({ hasText: "fast" }).waitFor();
    const bounds = await refused();
    await dialog.getByLabel("Parameters").fill('{"fast": 2, "slow": 5, "quantity": 1}');
    await start();
    await dialog.waitFor({ state: "hidden" });
    const row = page.getByRole("table", { name: "Instances" }).getByRole("row").filter({ hasText: "BTC by hand" });
    await row.getByText("running").waitFor();
    const runs = await row.innerText();

    await fill("5000", "");
    await start();
    const taken = await refused();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await row.getByRole("button", { name: "Stop" }).click();
    await row.getByText("stopped").waitFor();
    return { known, cash, bounds, runs, taken };
});
