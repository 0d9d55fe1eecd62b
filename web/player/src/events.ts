/** The stream of events of one video (`/api/stream/{id}/events`). */

import { parseGrowth, type Growth } from './growth';
import { backoff } from './retry';

/** Reads the events and reconnects by itself, until it is closed. */
export class VideoEvents {
  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;

  constructor(
    private readonly url: string,
    private readonly onGrowth: (growth: Growth) => void
  ) {
    this.open();
  }

  private open(): void {
    const source = new EventSource(this.url);
    this.source = source;
    source.addEventListener('state', (event) => {
      this.failures = 0;
      const growth = parseGrowth((event as MessageEvent<string>).data);
      if (growth) this.onGrowth(growth);
    });
    source.addEventListener('error', () => {
      // The browser reconnects after a broken connection, but not after an HTTP error.
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.timer = setTimeout(() => this.open(), backoff(this.failures++));
    });
  }

  /** Ends the stream. */
  close(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
