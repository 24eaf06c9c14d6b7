import { base, drive, signIn, token } from "./browser.mjs";

await drive(
    async (page) => {
        await page.goto(`${base}/markets`);
        await page.getByLabel("Access token").fill("qsr_not_a_token");
        await page.getByRole("button", { name: "Sign in" }).click();
        const refusal = await page.getByRole("alert").innerText();

        await signIn(page, token);
        await page.getByText("serving").nth(5).waitFor();
        const cards = {};
        for (const title of ["Registry", "DataHub", "StrategyEngine"]) {
            const head = page.getByRole("heading", { name: title, exact: true }).locator("xpath=..");
            cards[title] = (await head.innerText()).split("\n").at(-1);
        }
        await page.keyboard.press("g");
        await page.keyboard.press("m");
        await page.getByRole("heading", { name: "Markets" }).waitFor();
        const afterKeys = new URL(page.url()).pathname;
        await page.keyboard.press("Shift+?");
        const sheet = await page.getByRole("dialog", { name: "Keys" }).innerText();
        await page.keyboard.press("Escape");

        await page.getByRole("button", { name: "Sign out" }).click();
        await page.getByLabel("Access token").waitFor();
        await page.reload();
        const doorAgain = await page.getByLabel("Access token").isVisible();
        const kept = await page.evaluate(() => [sessionStorage.length, localStorage.getItem("quasar.token")]);
        return { refusal, cards, afterKeys, sheet, doorAgain, kept };
    },
    { signedIn: false },
);
