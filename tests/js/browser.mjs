// Drives Chromium for the Python tests: one JSON command a line in, one JSON report a line out. Each page has a context
// of its own, so that no page sees what another one has stored.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import chromium from "@sparticuz/chromium";
import { chromium as playwright } from "playwright-core";
import { execute } from "./lines.mjs";

// Not the package's own flags: they turn the same-origin policy off.
const FLAGS = ["--no-sandbox", "--no-zygote", "--use-gl=angle", "--use-angle=swiftshader", "--font-render-hinting=none"];
const PATIENCE = Number(process.env.PATIENCE ?? 60_000);
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const executablePath = await chromium.executablePath();
const browser = await playwright.launch({ executablePath, args: FLAGS, headless: true });
const pages = new Map();

const watch = (page) => {
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(error.stack ?? error.message));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("websocket", (socket) => seen.requests.push(socket.url()));
  return seen;
};

const find = (page, { selector, text, nth }) => {
  const found = text === undefined ? page.locator(selector) : page.locator(selector, { hasText: text });
  return nth === undefined ? found : found.nth(nth);
};

const commands = {
  async open({ name, url, width = 1440, height = 900, theme = "light", options = {} }) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: theme, reducedMotion: "reduce", locale: "en-US", ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    pages.set(name, { page, context, ...watch(page) });
    const answer = await page.goto(url);
    return answer.status();
  },
  async reload({ name }) {
    await pages.get(name).page.reload();
  },
  async close({ name }) {
    await pages.get(name).context.close();
    pages.delete(name);
  },
  async grant({ name, permissions }) {
    await pages.get(name).context.grantPermissions(permissions);
  },
  async click({ name, ...place }) {
    await find(pages.get(name).page, place).click();
  },
  async fill({ name, value, ...place }) {
    await find(pages.get(name).page, place).fill(value);
  },
  async choose({ name, value, ...place }) {
    await find(pages.get(name).page, place).selectOption(value);
  },
  async press({ name, key }) {
    await pages.get(name).page.keyboard.press(key);
  },
  async type({ name, value }) {
    await pages.get(name).page.keyboard.type(value);
  },
  // Waits until the element is shown.
  async wait({ name, ...place }) {
    await find(pages.get(name).page, place).first().waitFor();
  },
  async gone({ name, ...place }) {
    await find(pages.get(name).page, place).first().waitFor({ state: "hidden" });
  },
  async texts({ name, ...place }) {
    return find(pages.get(name).page, place).allInnerTexts();
  },
  async evaluate({ name, script }) {
    return pages.get(name).page.evaluate(script);
  },
  // Waits until the script's value is true. Playwright's own way compiles text in the page, which its policy forbids.
  async until({ name, script }) {
    const { page } = pages.get(name);
    const end = Date.now() + PATIENCE;
    while (!(await page.evaluate(script))) {
      if (Date.now() > end) throw new Error(`not true: ${script}`);
      await page.evaluate(() => new Promise(requestAnimationFrame));
    }
  },
  async resize({ name, width, height }) {
    await pages.get(name).page.setViewportSize({ width, height });
  },
  async theme({ name, theme }) {
    await pages.get(name).page.emulateMedia({ colorScheme: theme });
  },
  async shoot({ name, path, whole = false }) {
    await pages.get(name).page.screenshot({ path, fullPage: whole });
  },
  // What axe-core finds by these rules (none: all), as one line for each rule.
  async axe({ name, rules }) {
    const { page } = pages.get(name);
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(
      (rules) => window.axe.run(document, { resultTypes: ["violations"], ...(rules.length ? { runOnly: rules } : {}) }),
      rules,
    );
    return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.slice(0, 3).map(({ html, failureSummary }) => `${html.slice(0, 200)} ${failureSummary ?? ""}`) }));
  },
  seen({ name }) {
    const { errors, requests } = pages.get(name);
    return { errors, requests };
  },
};

process.on("exit", () => browser.close());
execute(commands);
