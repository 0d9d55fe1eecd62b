/** Server-sent events read by `fetch`, which can send a bearer token; EventSource cannot. */
import { retryAfter } from './api/problem';

export interface ServerEvent {
  id: string;
  type: string;
  data: string;
}

/**
 * Returns a function that takes pieces of a `text/event-stream`; it calls `emit` for each complete event and `position` for
 * each id, which may also stand alone.
 */
export function eventParser(
  emit: (event: ServerEvent) => void,
  position: (id: string) => void = () => {}
): (text: string) => void {
  let rest = '';
  let id = '';
  let type = '';
  let data: string[] = [];
  const line = (text: string) => {
    if (text === '') {
      position(id);
      if (data.length > 0) emit({ id, type: type || 'message', data: data.join('\n') });
      type = '';
      data = [];
      return;
    }
    const colon = text.indexOf(':');
    if (colon === 0) return;
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? '' : text.slice(text[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'data') data.push(value);
    else if (field === 'event') type = value;
    else if (field === 'id' && !value.includes('\0')) id = value;
  };
  return (text) => {
    rest += text;
    // A CR at the end of a piece may be the first half of a CRLF.
    const usable = rest.endsWith('\r') ? rest.length - 1 : rest.length;
    const lines = rest.slice(0, usable).split(/\r\n|\n|\r/);
    rest = lines.pop()! + rest.slice(usable);
    lines.forEach(line);
  };
}

export type ReaderState = 'closed' | 'connecting' | 'open' | 'waiting';

export interface ReaderOptions {
  url: string;
  /** Sends the request: adds the token and reports a rejected one. */
  send(url: string, headers: Record<string, string>, signal: AbortSignal): Promise<Response>;
  onEvent(event: ServerEvent): void;
  /** The state of the connection; `lost` is true when events may have been missed. */
  onState(state: ReaderState, lost: boolean): void;
}

/** Without a byte for this long the connection counts as dead, in milliseconds; keep-alives arrive more often. */
const SILENCE_MAX = 45_000;
const BACKOFF_FIRST = 500;
const BACKOFF_MAX = 10_000;

/** Keeps one stream of events open: reconnects with `Last-Event-ID`, waiting longer after each failure. */
export class EventReader {
  #options: ReaderOptions;
  #abort: AbortController | null = null;
  #lastId = '';
  #failures = 0;
  #opened = false;
  #wake: (() => void) | null = null;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** Whether a position is known, from which the next connection continues without a loss. */
  get begun(): boolean {
    return this.#lastId !== '';
  }

  start(): void {
    if (this.#abort) return;
    this.#abort = new AbortController();
    void this.#run(this.#abort.signal);
  }

  stop(): void {
    this.#abort?.abort();
    this.#abort = null;
    this.#wake?.();
    this.#options.onState('closed', false);
  }

  /** Reconnects at once, for example when the network is back. */
  hurry(): void {
    this.#wake?.();
  }

  async #run(stopped: AbortSignal): Promise<void> {
    while (!stopped.aborted) {
      this.#options.onState('connecting', false);
      const pause = await this.#connect(stopped).catch(() => this.#backoff());
      if (stopped.aborted) return;
      if (pause === null) return this.#options.onState('closed', false);
      this.#options.onState('waiting', false);
      await new Promise<void>((resume) => {
        const timer = setTimeout(resume, pause);
        this.#wake = () => (clearTimeout(timer), resume());
      });
      this.#wake = null;
    }
  }

  #backoff(): number {
    const longest = Math.min(BACKOFF_MAX, BACKOFF_FIRST * 2 ** this.#failures++);
    return longest * (0.5 + Math.random() / 2);
  }

  /** Reads one connection to its end; returns the pause before the next one, null for none. */
  async #connect(stopped: AbortSignal): Promise<number | null> {
    const attempt = new AbortController();
    const cancel = () => attempt.abort();
    stopped.addEventListener('abort', cancel);
    let watchdog = setTimeout(cancel, SILENCE_MAX);
    try {
      const headers: Record<string, string> = { accept: 'text/event-stream' };
      if (this.#lastId) headers['last-event-id'] = this.#lastId;
      const response = await this.#options.send(this.#options.url, headers, attempt.signal);
      if (response.status === 401 || response.status === 403) return null;
      if (!response.ok || !response.body) {
        return Math.max(this.#backoff(), (retryAfter(response.headers.get('retry-after')) ?? 0) * 1000);
      }
      // Without an id the service cannot send again what happened since the last connection.
      this.#options.onState('open', this.#opened && !this.#lastId);
      this.#opened = true;
      const parse = eventParser(this.#options.onEvent, (id) => (this.#lastId = id || this.#lastId));
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      attempt.signal.addEventListener('abort', () => void reader.cancel().catch(() => {}));
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return this.#backoff();
        this.#failures = 0;
        clearTimeout(watchdog);
        watchdog = setTimeout(cancel, SILENCE_MAX);
        parse(decoder.decode(value, { stream: true }));
      }
    } finally {
      clearTimeout(watchdog);
      stopped.removeEventListener('abort', cancel);
      attempt.abort();
    }
  }
}
