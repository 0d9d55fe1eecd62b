/// <reference types="vitest/config" />
import { fileURLToPath } from 'node:url';
import adapter from '@sveltejs/adapter-static';
import { sveltekit } from '@sveltejs/kit/vite';
import { defineConfig } from 'vite';

// `npm run dev` serves the console from its source; STREAMING_URL names the running service.
const service = process.env.STREAMING_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [
    sveltekit({
      adapter: adapter({ pages: 'dist', assets: 'dist', fallback: 'index.html' }),
      paths: { base: '/console', relative: true },
      // A constant: the same source must build the same bytes.
      version: { name: 'console', pollInterval: 0 }
    })
  ],
  resolve: { alias: { $lib: fileURLToPath(new URL('./src/lib', import.meta.url)) } },
  server: { proxy: { '^/(api|health|metrics|watch|embed|oembed|player)': { target: service } } },
  build: { assetsInlineLimit: 0, target: 'es2023' },
  test: { include: ['src/**/*.test.ts'], environment: 'node' }
});
