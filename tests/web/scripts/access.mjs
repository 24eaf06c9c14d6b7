import { AxeBuilder } from "@axe-core/playwright";
import { drive, figure } from "./browser.mjs";

const PLACES = {
    Overview: (page) => page.getByText("serving").nth(5),
    Providers: (page) => page.getByRole("table", { name: "Providers" }),
    "Upload code": (page) => page.getByRole("dialog"),
    Subscriptions: (page) => page.getByRole("table", { name: "Subscriptions" }),
    Subscribe: (page) => page.getByRole("dialog"),
    Markets: (page) => page.getByRole("table", { name: "Markets" }),
    "BTC/USD": (page) => page.getByRole("figure"),
    "Runs and gaps": (page) => page.getByRole("table", { name: "Runs" }),
    Strategies: (page) => figure(page, "Open orders"),
    Events: (page) => page.getByRole("table", { name: "Events" }),
};

/** Serious and critical findings, as text. */
async function violations(page, rules) {
    // The legacy mode finishes in the page itself; the page has no frames, so it finds the same.
    const look = new AxeBuilder({ page }).setLegacyMode(true);
    const { violations: found } = await (rules ? look.withRules(rules) : look).analyze();
    return found
        .filter(({ impact }) => impact === "serious" || impact === "critical")
        .map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 200)}`);
}

await drive(async (page) => {
    const found = {};
    const themes = [];
    for (const theme of ["dark", "light"]) {
        if (theme === "light") await page.getByRole("button", { name: "Light theme" }).click();
        themes.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        // The second theme changes colours and nothing else.
        const rules = theme === "light" ? ["color-contrast"] : null;
        for (const [name, ready] of Object.entries(PLACES)) {
            const link = page.getByRole("link", { name });
            const way = (await link.count()) > 0 ? link : page.getByRole("button", { name });
            await way.first().click();
            await ready(page).first().waitFor();
            found[`${name}, ${theme}`] = await violations(page, rules);
            await page.keyboard.press("Escape");
        }
    }
    return { found, themes };
});
