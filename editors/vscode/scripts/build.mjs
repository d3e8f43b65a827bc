// Bundles the extension into dist/extension.js and refuses to make it larger than it may be; writes the text of
// the extension's page, dist/README.md: `node scripts/build.mjs`.
import { build } from 'esbuild';
import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MOST_BYTES = 500_000;
const here = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));

await build({
  entryPoints: [here('src/extension.ts')],
  outfile: here('dist/extension.js'),
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['vscode'],
  legalComments: 'none',
  logLevel: 'warning',
});
copyFileSync(here('../../LICENSE'), here('LICENSE.txt'));

// The editor's page of an extension shows only pictures from the web; those of ours are in the walkthrough.
writeFileSync(here('dist/README.md'), readFileSync(here('README.md'), 'utf8').replace(/^!\[.*\n\n/gm, ''));

const bytes = statSync(here('dist/extension.js')).size;
console.log(`dist/extension.js: ${Math.round(bytes / 1000)} kB`);
if (bytes > MOST_BYTES) {
  console.error(`The bundle may have ${MOST_BYTES / 1000} kB.`);
  process.exit(1);
}
