/** The stream of events of one video (`/api/stream/{id}/events`). */

import { parseGrowth, type Growth } from './growth';
import { backoff, problemOf, type Problem } from './retry';

/**
 * How long a page in the background that does not play keeps its stream, in milliseconds: browsers open only six
 * connections to a server, and each stream occupies one.
 */
const HIDDEN_MS = 10_000;

/** The player that the events are for. */
export interface Listener {
  onGrowth(growth: Growth): void;
  /** The service refuses the stream, or does not answer. */
  onProblem(problem: Problem): void;
  /** Whether the video plays. */
  playing(): boolean;
  /** An address with the newest playback token. */
  fresh(url: string): string;
}

/** Reads the events and reconnects by itself, until it is closed. */
export class VideoEvents {
  private source: EventSource | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private hiding: ReturnType<typeof setInterval> | undefined;
  private failures = 0;

  constructor(
    private readonly url: string,
    private readonly user: Listener
  ) {
    document.addEventListener('visibilitychange', this.attend);
    if (document.hidden && !user.playing()) this.attend();
    else this.open();
  }

  private readonly attend = () => {
    clearInterval(this.hiding);
    if (document.hidden) this.hiding = setInterval(() => this.rest(), HIDDEN_MS);
    else if (!this.source) this.open();
  };

  /** Pauses the stream in the background, unless the video plays. */
  private rest(): void {
    if (this.user.playing()) {
      if (!this.source) this.open();
      return;
    }
    this.end();
  }

  private open(): void {
    clearTimeout(this.timer);
    const source = new EventSource(this.user.fresh(this.url));
    this.source = source;
    source.addEventListener('state', (event) => {
      this.failures = 0;
      const growth = parseGrowth((event as MessageEvent<string>).data);
      if (growth) this.user.onGrowth(growth);
    });
    source.addEventListener('error', () => {
      // The browser reconnects after a broken connection, but not after an HTTP error.
      if (source.readyState !== EventSource.CLOSED || this.source !== source) return;
      this.timer = setTimeout(() => this.open(), backoff(this.failures++));
      void this.explain(source);
    });
  }

  /** An EventSource does not reveal why the service refused it. */
  private async explain(source: EventSource): Promise<void> {
    const reply = await fetch(this.user.fresh(this.url)).catch(() => null);
    await reply?.body?.cancel().catch(() => undefined);
    if (this.source === source && !reply?.ok) this.user.onProblem(problemOf(reply?.status));
  }

  private end(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  /** Ends the stream. */
  close(): void {
    document.removeEventListener('visibilitychange', this.attend);
    clearInterval(this.hiding);
    this.end();
  }
}
