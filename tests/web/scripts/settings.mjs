// A provider that needs a secret gets it, and its preferences; what is out of bounds is refused in words.
// Then a subscription to one that has days and history only.

import { base, drive } from "./browser.mjs";

const [daily, symbol] = process.argv.slice(2);

await drive(async (page) => {
    await page.goto(`${base}/providers`);
    const row = page.getByRole("table", { name: "Providers" }).getByRole("row").filter({ hasText: "eodhd" });
    await row.getByText("needs api_token").waitFor();
    const dialog = page.getByRole("dialog", { name: "Settings of eodhd" });
    const open = () => page.getByRole("button", { name: "Settings of eodhd" }).click();
    await open();
    await dialog.getByLabel("api_token").fill("not-a-real-one");
    await dialog.getByLabel("data.lookback_days").fill("99999");
    await dialog.getByRole("button", { name: "Save" }).click();
    const refusal = await dialog.getByRole("alert").innerText();
    await dialog.getByLabel("data.lookback_days").fill("30");
    await dialog.getByLabel("prices").selectOption("adjusted");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "hidden" });
    await row.getByText("needs api_token").waitFor({ state: "detached" });

    await open();
    const lookback = await dialog.getByLabel("data.lookback_days").inputValue();
    const prices = await dialog.getByLabel("prices").inputValue();
    const secret = dialog.getByLabel("api_token");
    const kept = [await secret.inputValue(), await secret.getAttribute("placeholder")];
    await dialog.getByLabel("data.lookback_days").fill("");
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "hidden" });

    await page.goto(`${base}/subscriptions`);
    await page.getByRole("button", { name: "Subscribe" }).click();
    const form = page.getByRole("dialog", { name: "Subscribe" });
    await form.getByLabel("Provider", { exact: true }).selectOption(daily);
    await form.getByLabel("Symbols, as the provider writes them").fill(symbol);
    const offered = await form.getByLabel("Interval").locator("option").allInnerTexts();
    const live = await form.getByRole("checkbox").isEnabled();
    await form.getByRole("button", { name: "Subscribe" }).click();
    await form.waitFor({ state: "hidden" });
    await page.getByLabel("Find a symbol, a provider or an interval").fill(daily);
    const made = page.getByRole("table", { name: "Subscriptions" }).getByRole("row").filter({ hasText: symbol });
    await made.waitFor();
    return { refusal, lookback, prices, kept, offered, live, made: await made.innerText() };
});
