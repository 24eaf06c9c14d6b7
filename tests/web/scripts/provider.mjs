// A provider with findings: refused with its report, mended and taken with a warning that is shown, then listed.

import { base, drive } from "./browser.mjs";

const [refused, warned] = process.argv.slice(2);

await drive(async (page) => {
    await page.goto(`${base}/providers`);
    await page.getByRole("button", { name: "Upload code" }).click();
    const dialog = page.getByRole("dialog", { name: "Upload code" });
    const file = dialog.getByLabel("A Python file, or a zip of a package");
    await file.setInputFiles(refused);
    await dialog.getByRole("button", { name: "Upload and activate" }).click();
    await dialog.getByText("The code cannot be used yet.").waitFor();
    const findings = await dialog.getByRole("listitem").allInnerTexts();

    await file.setInputFiles(warned);
    await dialog.getByText("The code cannot be used yet.").waitFor({ state: "detached" });
    await dialog.getByRole("button", { name: "Upload and activate" }).click();
    await dialog.getByText("The code passes validation.").waitFor();
    const warnings = await dialog.getByRole("listitem").allInnerTexts();
    await dialog.getByRole("button", { name: "Done" }).click();
    await dialog.waitFor({ state: "hidden" });
    const row = page.getByRole("table", { name: "Providers" }).getByRole("row").filter({ hasText: "Sturdy" });
    await row.waitFor();
    return { findings, warnings, row: await row.innerText() };
});
