import 'svelte/elements';

declare module 'svelte/elements' {
  export interface SvelteHTMLElements {
    'stream-player': HTMLAttributes<HTMLElement> & Record<string, unknown>;
  }
}

declare global {
  namespace App {
    interface PageState {
      /** The page of a list: its token, null for the first page, and the tokens of the pages before it. */
      list?: { token: string | null; earlier: (string | null)[] };
    }
  }
}

export {};
