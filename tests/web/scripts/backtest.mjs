import { base, drive } from "./browser.mjs";

const [strategy] = process.argv.slice(2);

await drive(async (page) => {
    await page.goto(`${base}/strategies`);
    await page.getByRole("button", { name: "New back-test" }).click();
    const dialog = page.getByRole("dialog", { name: "New back-test" });
    await dialog.getByLabel("Strategy", { exact: true }).selectOption(strategy);
    await dialog.getByLabel("Bars").selectOption("BTC/USD 1min (simulated)");
    await dialog.getByLabel("Parameters").fill('{"fast": 2');
    const complaint = await dialog.getByText("The parameters must be a JSON object.").isVisible();
    await dialog.getByLabel("Parameters").fill('{"fast": 2, "slow": 5, "quantity": 1}');
    await dialog.getByRole("button", { name: "Run it" }).click();
    const curve = page.getByRole("figure", { name: /^Equity curve of/ });
    await curve.waitFor();
    const drawn = await curve.locator("canvas").count();
    const label = await curve.getAttribute("aria-label");
    const trades = await page.getByRole("table", { name: "Trades" }).getByRole("row").count();
    return { complaint, drawn, label, trades };
});
