// A paper strategy from the page: started, stopped, started again; trading halted, which keeps it from starting, and resumed.

import { base, drive } from "./browser.mjs";

await drive(async (page) => {
    await page.goto(`${base}/strategies`);
    const row = page.getByRole("table", { name: "Instances" }).getByRole("row").filter({ hasText: "Paper cross" });
    const state = async (word) => {
        await row
            .getByText(new RegExp(`${word}$`))
            .first()
            .waitFor();
        return word;
    };
    const seen = [await state("stopped")];
    await row.getByRole("button", { name: "Start" }).click();
    seen.push(await state("running"));
    await row.getByRole("button", { name: "Stop" }).click();
    seen.push(await state("stopped"));

    const pill = (words) => page.getByText(words).first().waitFor();
    const trading = async (button, answer, why = "") => {
        await page.getByRole("button", { name: button }).click();
        if (why) await page.getByLabel("Why").fill(why);
        await page.getByRole("dialog").getByRole("button", { name: answer, exact: true }).click();
        await page.getByRole("dialog").waitFor({ state: "hidden" });
    };
    await trading("Halt trading", "Leave it");
    await pill("trading active");
    await trading("Halt trading", "Halt", "a fire drill");
    await pill("trading halted");
    await pill(/a fire drill · /);
    await row.getByRole("button", { name: "Start" }).click();
    const refusal = await page.getByText(/must not be HALTED/).innerText();
    seen.push(await state("stopped"));
    await trading("Resume trading", "Resume");
    await pill("trading active");
    await row.getByRole("button", { name: "Start" }).click();
    seen.push(await state("running"));
    await row.getByRole("button", { name: "Stop" }).click();
    seen.push(await state("stopped"));
    return { seen, refusal };
});
