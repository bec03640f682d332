// Drives pages in Chromium or Firefox: one JSON command a line in, one JSON report a line out. The pages come from an
// origin of their own, as a front end's do. Arguments: the browser, and the folder of socket.io-client's bundle.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const [kind, bundle, program] = process.argv.slice(2);
const pages = new Map();
const report = (line) => process.stdout.write(line + "\n");

async function launch() {
  if (kind === "firefox") return puppeteer.launch({ browser: "firefox", executablePath: program, headless: true });
  const { default: chromium } = await import("@sparticuz/chromium");
  const executablePath = program || (await chromium.executablePath());
  // Without it, pages may read what other origins answer, and send no Origin.
  const args = chromium.args.filter((arg) => arg !== "--disable-web-security");
  return puppeteer.launch({ args, executablePath, headless: "shell" });
}

const files = { "/": new URL("page.html", import.meta.url), "/socket.io.js": `${bundle}/socket.io.min.js` };
const server = createServer(async (request, response) => {
  const file = files[new URL(request.url, "http://localhost").pathname];
  if (file === undefined) return response.writeHead(404).end();
  response.setHeader("content-type", request.url.endsWith(".js") ? "text/javascript" : "text/html");
  response.end(await readFile(file));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://localhost:${server.address().port}`;
let browser;

const commands = {
  async start() {
    browser = await launch();
    return { version: await browser.version(), pid: browser.process().pid };
  },
  origin: () => origin,
  async open({ name, cookie, ...rest }) {
    const page = await browser.newPage();
    pages.set(name, page);
    await page.exposeFunction("report", report);
    if (cookie) {
      await page.goto(`${origin}/socket.io.js`);
      await page.evaluate((text) => (document.cookie = text), cookie);
    }
    await page.goto(`${origin}/#${encodeURIComponent(JSON.stringify({ name, ...rest }))}`);
  },
  call: ({ name, event, args }) => pages.get(name).evaluate((event, arg) => window.call(event, arg), event, args[0]),
  upload: ({ name, size }) => pages.get(name).evaluate((size) => window.upload(size), size),
  speakPlainly: ({ name, address, frames, count }) =>
    pages.get(name).evaluate((...args) => window.speakPlainly(...args), address, frames, count),
  async reload({ name }) {
    await pages.get(name).reload();
  },
  async close({ name }) {
    await pages.get(name).close();
  },
};

createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, command, ...rest } = JSON.parse(line);
    try {
      report(JSON.stringify({ id, result: (await commands[command](rest)) ?? null }));
    } catch (error) {
      report(JSON.stringify({ id, error: error.stack }));
    }
  })
  .on("close", async () => {
    await browser?.close();
    process.exit(0);
  });
