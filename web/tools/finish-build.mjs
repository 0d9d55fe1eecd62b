// Makes `dist/` from the two packages' builds: the directory that the data plane embeds.
//
// - `dist/console`: SvelteKit's inline start script becomes a hashed file, because the pages' Content-Security-Policy
//   allows no inline script. Its URLs in `index.html` begin with `./`: the data plane replaces `./` by the number of
//   `../` that the requested path needs, so that the console works below any path prefix.
// - `dist/player`: the player's files and Vite's `manifest.json`.
// - Next to each compressible file lie its `.br` and `.gz`, made once here instead of at each request.
import { createHash } from 'node:crypto';
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const COMPRESSIBLE = new Set(['.js', '.css', '.svg', '.json', '.txt']);

/** Replaces the first match and fails when there is none: a new SvelteKit may write another page. */
function replaceOnce(text, pattern, replacement, what) {
  if (!pattern.test(text)) throw new Error(`${what} is missing in the console's index.html`);
  return text.replace(pattern, replacement);
}

/** Moves the inline start script of `index.html` into a hashed module that finds its own base path. */
function moveStartScript(directory) {
  const page = join(directory, 'index.html');
  let html = readFileSync(page, 'utf8');
  const inline = /<script>([\s\S]*?)<\/script>/;
  let script = inline.exec(html)?.[1];
  if (!script) throw new Error("the start script is missing in the console's index.html");
  // Three levels above `_app/immutable/entry/` is the console's own path, with a prefix where a proxy adds one.
  const base = "const base = new URL('../../..', import.meta.url).pathname.slice(0, -1);\n";
  script = replaceOnce(script, /(__sveltekit_\w+) = \{/, 'globalThis.$1 = {', 'the name of the start script');
  script = replaceOnce(script, /base: "[^"]*"/, 'base', 'the base path');
  script = replaceOnce(script, /assets: "[^"]*"/, 'assets: base', 'the path of assets');
  script = replaceOnce(script, /document\.currentScript\.parentElement/, "document.getElementById('app')", 'the root element');
  script = script.replaceAll('import("/console/_app/immutable/', 'import("../');
  script = (base + script).replaceAll(/^\t+/gm, '');
  const hash = createHash('sha256').update(script).digest('base64url').slice(0, 8);
  writeFileSync(join(directory, `_app/immutable/entry/boot.${hash}.js`), script);
  html = html.replace(inline, '');
  html = html.replaceAll('="/console/', '="./');
  html = html.replace('</head>', `  <script type="module" src="./_app/immutable/entry/boot.${hash}.js"></script>\n  </head>`);
  if (/<script(?![^>]*\bsrc=)/.test(html)) throw new Error("the console's index.html still has an inline script");
  if (!html.includes('<!--config-->')) throw new Error("the console's index.html lacks <!--config-->");
  writeFileSync(page, html);
}

/** Writes `.br` and `.gz` next to each file that becomes smaller. */
function compress(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !COMPRESSIBLE.has(extname(entry.name))) continue;
    const file = join(entry.parentPath, entry.name);
    const bytes = readFileSync(file);
    const packed = {
      br: brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } }),
      gz: gzipSync(bytes, { level: 9 })
    };
    for (const [suffix, data] of Object.entries(packed)) {
      if (data.length < bytes.length) writeFileSync(`${file}.${suffix}`, data);
    }
  }
}

rmSync(dist, { recursive: true, force: true });
cpSync(join(root, 'console/dist'), join(dist, 'console'), { recursive: true });
cpSync(join(root, 'player/dist'), join(dist, 'player'), { recursive: true });
moveStartScript(join(dist, 'console'));
compress(dist);
