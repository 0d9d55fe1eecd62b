import { toasts } from './toast.svelte';

/** Shows a short message for a few seconds. */
export function toast(text: string): void {
  toasts.show(text, 6000);
}
