// A browser with VS Code in it, driven line by line: a JSON request a line on stdin, a JSON answer a line on stdout.
//
//   node vscode_driver.mjs PLAYWRIGHT_FOLDER CHROMIUM
//
// Presses keys and reads the screen as a person would; knows nothing of what is tested.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [, , modules, executablePath] = process.argv;
const { chromium } = createRequire(`${modules}/`)('playwright-core');

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--force-color-profile=srgb'],
});
const context = await browser.newContext({ viewport: { width: 900, height: 480 }, deviceScaleFactor: 1 });
await context.grantPermissions(['clipboard-read', 'clipboard-write']);
let page;
const complaints = [];

/** What is on the screen; runs in the page. */
function look() {
  const texts = (selector, root = document) => [...root.querySelectorAll(selector)].map((each) => each.textContent.replaceAll('\u00a0', ' '));
  const editor = document.querySelector('.editor-group-container.active .monaco-editor[role="code"]') ?? document.querySelector('.monaco-editor');
  const ghost = editor ? texts('.ghost-text-decoration, .ghost-text-decoration-preview', editor).join('') : '';
  const below = editor ? texts('.view-zones .suggest-preview-text .view-line, .view-zones .ghost-text .view-line', editor) : [];
  const status = document.querySelector('.statusbar-item[id="dlsp.dlsp.dlsp.status"]');
  return {
    ghost: [ghost, ...below].join('\n').replace(/\n+$/, ''),
    status: status ? status.textContent.replaceAll('\u00a0', ' ').trim() : '',
    statusLabel: status?.querySelector('a')?.getAttribute('aria-label') ?? '',
    statusClasses: status?.className ?? '',
    lines: editor
      ? [...editor.querySelectorAll('.view-lines > .view-line')]
          .sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
          .map((each) => each.textContent.replaceAll('\u00a0', ' '))
      : [],
    focused: !!document.activeElement?.closest('.monaco-editor'),
    tab: document.querySelector('.tab.active')?.getAttribute('data-resource-name') ?? '',
    dirty: !!document.querySelector('.tab.active.dirty'),
    notifications: texts('.notification-list-item-message'),
    quickInput: [...document.querySelectorAll('.quick-input-widget')].some((each) => each.style.display !== 'none'),
    quickTitle: texts('.quick-input-title').join(''),
    rows: texts('.quick-input-list .monaco-list-row .quick-input-list-rows > .quick-input-list-row:first-child'),
    popup: texts('.suggest-widget.visible .monaco-list-row .label-name'),
    actions: texts('.action-widget .monaco-list-row.action .title'),
    dialog: texts('.monaco-dialog-box .dialog-message-text').join(''),
  };
}

const deeds = {
  async open({ url }) {
    await page?.close();
    page = await context.newPage();
    page.on('console', (message) => message.type() === 'error' && complaints.push(`${message.text()} (${message.location().url})`));
    page.on('pageerror', (error) => complaints.push(String(error)));
    await page.goto(url, { waitUntil: 'domcontentloaded', timeout: 300_000 });
    await page.waitForSelector('.monaco-workbench .statusbar-item', { timeout: 300_000 });
  },
  complaints: () => complaints,
  press: ({ key }) => page.keyboard.press(key),
  type: ({ text, pause }) => page.keyboard.type(text, { delay: pause }),
  look: () => page.evaluate(look),
  click: ({ selector }) => page.click(selector, { timeout: 60_000 }),
  hover: ({ selector }) => page.hover(selector, { timeout: 60_000 }),
  screenshot: async ({ path, clip, selector }) => {
    const target = selector ? page.locator(selector).first() : page;
    await target.screenshot({ path, animations: 'disabled', ...(clip ? { clip } : {}) });
  },
  html: ({ selector }) => page.evaluate((s) => [...document.querySelectorAll(s)].map((each) => each.outerHTML), selector),
};

console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const { deed, ...details } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: (await deeds[deed](details)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error).slice(0, 2000) }));
  }
}
await browser.close();
