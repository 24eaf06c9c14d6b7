import { base, drive } from "./browser.mjs";

await drive(async (page) => {
    await page.goto(`${base}/providers`);
    const listed = page.getByRole("table", { name: "Providers" });
    await listed.getByText("running").first().waitFor();
    const providers = await listed.innerText();

    await page.goto(`${base}/subscriptions`);
    await page.getByRole("button", { name: "Subscribe" }).click();
    const dialog = page.getByRole("dialog", { name: "Subscribe" });
    await dialog.getByLabel("Provider", { exact: true }).selectOption("simulated");
    await dialog.getByLabel("Symbols, as the provider writes them").fill("LTC/USD");
    await dialog.getByRole("button", { name: "Subscribe" }).click();
    await dialog.waitFor({ state: "hidden" });
    await page.getByLabel("Find a symbol, a provider or an interval").fill("ltc 1min");
    const subscriptions = page.getByRole("table", { name: "Subscriptions" });
    await subscriptions.getByText("LTC/USD").waitFor();
    await subscriptions.getByText("BTC/USD").waitFor({ state: "detached" });
    const found = await subscriptions.getByRole("row").count();
    await subscriptions.getByText("current").waitFor();

    // The same again is refused in words, and what was typed stays.
    await page.getByRole("button", { name: "Subscribe" }).click();
    await dialog.getByLabel("Symbols, as the provider writes them").fill("LTC/USD");
    await dialog.getByRole("button", { name: "Subscribe" }).click();
    const refusal = await dialog.getByRole("alert").innerText();
    const typed = await dialog.getByLabel("Symbols, as the provider writes them").inputValue();

    await page.goto(`${base}/runs`);
    const runs = page.getByRole("table", { name: "Runs" });
    await runs.locator("tr", { hasText: "succeeded" }).filter({ hasNotText: "maintenance" }).first().waitFor();
    const runText = await runs.innerText();
    const gaps = await page.getByText(/^No gaps\. Checked/).innerText();

    await page.goto(`${base}/events`);
    const events = page.getByRole("table", { name: "Events" });
    await events.getByText("LTC/USD").first().waitFor();
    return { providers, found, refusal, typed, runText, gaps, events: await events.innerText() };
});
