import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  build: {
    outDir: 'dist',
    target: 'es2022',
    manifest: 'manifest.json',
    // The scripts are modules that name one another by relative URLs, so nothing needs a preload list.
    modulePreload: false,
    // hls.js alone is larger than the bundler's default; tools/check-size.mjs checks the budget.
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      input: ['src/player.ts', 'src/page.ts'],
      preserveEntrySignatures: 'exports-only',
      output: {
        entryFileNames: '[name]-[hash].js',
        chunkFileNames: '[name]-[hash].js',
        assetFileNames: '[name]-[hash][extname]'
      }
    }
  }
});
