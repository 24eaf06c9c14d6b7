// Open orders on the page: listed with their terms, counted, cancelled one by one and all together with a halt; and the
// state that the engine or another operator set on an account, taken back.

import { base, drive, figure } from "./browser.mjs";

await drive(async (page) => {
    await page.goto(`${base}/strategies`);
    const table = page.getByRole("table", { name: "Open orders" });
    const rows = table.locator("tbody tr");
    await rows.nth(2).waitFor();
    const listed = await rows.evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.innerText)));
    const heads = await table.getByRole("columnheader").allInnerTexts();
    const counted = await figure(page, "Open orders").first().innerText();
    await rows.first().getByRole("button", { name: "Cancel the order" }).click();
    await rows.nth(2).waitFor({ state: "detached" });

    const states = page.getByRole("table", { name: "Trading states" });
    const strict = await states.locator("tbody tr").innerText();
    await states.getByRole("button", { name: "Resume trading of account careful" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Resume", exact: true }).click();
    await states.waitFor({ state: "detached" });

    await page.getByRole("button", { name: "Halt trading" }).click();
    await page.getByLabel("Cancel the open orders too").check();
    await page.getByRole("dialog").getByRole("button", { name: "Halt", exact: true }).click();
    await page.getByText("No order waits.").waitFor();
    await page.getByRole("button", { name: "Resume trading" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Resume", exact: true }).click();
    await page.getByText("trading active").first().waitFor();

    await page.getByRole("button", { name: "Halt trading" }).click();
    const cancelsAgain = await page.getByLabel("Cancel the open orders too").isChecked();
    await page.getByRole("dialog").getByRole("button", { name: "Leave it" }).click();
    return { heads, listed, counted, strict, cancelsAgain };
});
