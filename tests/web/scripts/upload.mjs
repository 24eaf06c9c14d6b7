import { base, drive } from "./browser.mjs";

const [broken, sound] = process.argv.slice(2);

await drive(async (page) => {
    await page.goto(`${base}/strategies`);
    await page.getByRole("button", { name: "Upload code" }).click();
    const dialog = page.getByRole("dialog", { name: "Upload code" });
    const file = dialog.getByLabel("A Python file, or a zip of a package");
    await file.setInputFiles(broken);
    await dialog.getByRole("button", { name: "Check only" }).click();
    await dialog.getByText("The code cannot be used yet.").waitFor();
    const findings = await dialog.innerText();
    await dialog.getByRole("button", { name: "Upload and activate" }).click();
    const refusal = await dialog.getByRole("alert").innerText();
    const chosen = await file.evaluate((input) => input.files[0]?.name);

    await file.setInputFiles(sound);
    await dialog.getByRole("button", { name: "Upload and activate" }).click();
    await dialog.waitFor({ state: "hidden" });
    const codes = page.getByRole("table", { name: "Strategy code" });
    await codes.getByText("version 1").waitFor();
    return { findings, refusal, chosen, codes: await codes.innerText() };
});
