// Fails when the bundle exceeds its budget: all scripts and style sheets together, gzipped.
import { readdirSync, readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

const BUDGET_BYTES = 260 * 1024;
const dist = new URL('../dist/', import.meta.url);
const files = readdirSync(dist).filter((name) => /\.(js|css)$/.test(name));
const sizes = files.map((name) => [name, gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length]);
const total = sizes.reduce((sum, [, bytes]) => sum + bytes, 0);
console.log(`player: ${(total / 1024).toFixed(1)} KiB gzip of ${BUDGET_BYTES / 1024}`);
if (total > BUDGET_BYTES) {
  console.error(`the player is larger than its budget of ${BUDGET_BYTES} bytes: ${JSON.stringify(Object.fromEntries(sizes))}`);
  process.exit(1);
}
