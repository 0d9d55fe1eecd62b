import 'svelte/elements';

declare module 'svelte/elements' {
  export interface SvelteHTMLElements {
    'stream-player': HTMLAttributes<HTMLElement> & Record<string, unknown>;
  }
}

export {};
