// Writes the server's settings, which `make settings` generates, into package.json: `node scripts/manifest.mjs [--check]`.
// With --check nothing is written, and the exit status is 1 if package.json is not up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const text = readFileSync(here('package.json'), 'utf8');
const manifest = JSON.parse(text);
const generated = JSON.parse(readFileSync(here('settings.generated.json'), 'utf8'));

// What the extension itself needs to know stands in a block of its own; the server's settings are all of the other one.
const own = manifest.contributes.configuration.find((block) => block.title !== generated.title);
manifest.contributes.configuration = [own, generated];
const wanted = `${JSON.stringify(manifest, undefined, 2)}\n`;

if (wanted !== text) {
  if (process.argv.includes('--check')) {
    console.error('package.json does not have the generated settings; run `npm run settings` in editors/vscode.');
    process.exit(1);
  }
  writeFileSync(here('package.json'), wanted);
  console.log('wrote package.json');
}
