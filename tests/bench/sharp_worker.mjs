// Renders the variants of one picture after another with sharp: a JSON array of paths in, one answer line out.
import { createInterface } from 'node:readline';
import { join, resolve } from 'node:path';
import { createRequire } from 'node:module';

const [modules, outputDir, variants] = process.argv.slice(2);
const sharp = createRequire(join(resolve(modules), 'package.json'))('sharp');
sharp.concurrency(1); // one process per core, as the others
sharp.cache(false);

async function render(path) {
  for (const { name, width_px: width, quality, effort } of JSON.parse(variants)) {
    await sharp(path)
      .rotate()
      .resize({ width, withoutEnlargement: true })
      .webp({ quality, effort })
      .toFile(join(outputDir, `${name}.webp`));
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  for (const path of JSON.parse(line)) await render(path);
  console.log('done');
}
