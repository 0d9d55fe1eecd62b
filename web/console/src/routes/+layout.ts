import { i18n } from '$lib/i18n';
import { theme } from '$lib/theme.svelte';

// The console is static files and runs only in the browser.
export const ssr = false;
export const prerender = false;

export async function load(): Promise<void> {
  theme.start();
  await i18n.start();
}
