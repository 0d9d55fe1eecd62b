/**
 * The Player.js protocol (version 0.0.11): a page controls the player in its frame by messages.
 *
 * Only messages of the parent window from its own origin are read, and replies go only there. The parent's origin is
 * known from the browser (`ancestorOrigins`) or from the referrer; where neither exists, the first message names it.
 */

const CONTEXT = 'player.js';
const VERSION = '0.0.11';
const EVENTS = ['ready', 'progress', 'timeupdate', 'play', 'pause', 'ended', 'seeked', 'error'];
const METHODS = [
  'play', 'pause', 'getPaused', 'mute', 'unmute', 'getMuted', 'setVolume', 'getVolume', 'getDuration',
  'setCurrentTime', 'getCurrentTime', 'setLoop', 'getLoop', 'removeEventListener', 'addEventListener'
];
/** Listeners of one page; more are ignored. */
const LISTENERS_MAX = 100;

/** The player, as the protocol controls it. */
export interface Controlled {
  readonly video: HTMLVideoElement;
  readonly duration: number;
  seek(position: number): void;
}

interface Message {
  method: string;
  value: unknown;
  listener: string | undefined;
}

/** Reads a message of the protocol; null if it is anything else. */
export function parseMessage(data: unknown): Message | null {
  let message: unknown = data;
  if (typeof data === 'string') {
    try {
      message = JSON.parse(data);
    } catch {
      return null;
    }
  }
  if (typeof message !== 'object' || message === null) return null;
  const { context, method, value, listener } = message as Record<string, unknown>;
  if (context !== CONTEXT || typeof method !== 'string' || !METHODS.includes(method)) return null;
  return { method, value, listener: typeof listener === 'string' ? listener : undefined };
}

function originOf(url: string): string | null {
  try {
    const { origin } = new URL(url);
    return origin === 'null' ? null : origin;
  } catch {
    return null;
  }
}

/** The origin of the page that embeds this one; null if the browser does not reveal it. */
export function parentOrigin(): string | null {
  const ancestors = location.ancestorOrigins;
  if (ancestors?.length) return ancestors[0] === 'null' ? null : ancestors[0]!;
  return originOf(document.referrer);
}

/** Serves the protocol to the parent window. */
export class PlayerJs {
  private readonly listeners: { event: string; listener: string | undefined }[] = [];
  private origin = parentOrigin();

  constructor(private readonly player: Controlled) {
    if (window.parent === window) return;
    window.addEventListener('message', (event) => this.receive(event));
    const { video } = player;
    const tell = (event: string, value?: () => unknown) => video.addEventListener(event, () => this.emit(event, value?.()));
    const time = () => ({ seconds: video.currentTime, duration: this.duration });
    tell('timeupdate', time);
    for (const event of ['play', 'pause', 'ended', 'seeked']) tell(event);
    tell('progress', () => {
      const end = video.buffered.length > 0 ? video.buffered.end(video.buffered.length - 1) : 0;
      return { percent: this.duration > 0 ? end / this.duration : 0 };
    });
    tell('error', () => ({ code: video.error?.code ?? 0, msg: video.error?.message ?? '' }));
    this.ready(undefined);
  }

  private get duration(): number {
    return Number.isFinite(this.player.duration) ? this.player.duration : 0;
  }

  private receive(event: MessageEvent): void {
    if (event.source !== window.parent) return;
    const message = parseMessage(event.data);
    if (!message || event.origin === 'null' || (this.origin !== null && event.origin !== this.origin)) return;
    this.origin = event.origin;
    this.act(message);
  }

  private act({ method, value, listener }: Message): void {
    const { video } = this.player;
    const reply = (result: unknown) => this.post(method, result, listener);
    const number = typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN;
    switch (method) {
      case 'play': return void video.play().catch(() => this.emit('error', { code: 0, msg: 'playback needs a click' }));
      case 'pause': return video.pause();
      case 'getPaused': return reply(video.paused);
      case 'mute': return void (video.muted = true);
      case 'unmute': return void (video.muted = false);
      case 'getMuted': return reply(video.muted);
      case 'setVolume': return void (Number.isFinite(number) && (video.volume = Math.min(100, Math.max(0, number)) / 100));
      case 'getVolume': return reply(Math.round(video.volume * 100));
      case 'getDuration': return reply(this.duration);
      case 'setCurrentTime': return void (Number.isFinite(number) && this.player.seek(number));
      case 'getCurrentTime': return reply(video.currentTime);
      case 'setLoop': return void (video.loop = value === true || value === 'true');
      case 'getLoop': return reply(video.loop);
      case 'addEventListener': return this.listen(String(value), listener);
      case 'removeEventListener': return this.forget(String(value), listener);
    }
  }

  private listen(event: string, listener: string | undefined): void {
    if (!EVENTS.includes(event) || this.listeners.length >= LISTENERS_MAX) return;
    if (event === 'ready') return this.ready(listener);
    this.listeners.push({ event, listener });
  }

  private forget(event: string, listener: string | undefined): void {
    const kept = this.listeners.filter((known) => known.event !== event || (listener !== undefined && known.listener !== listener));
    this.listeners.splice(0, this.listeners.length, ...kept);
  }

  private emit(event: string, value?: unknown): void {
    for (const known of this.listeners) {
      if (known.event === event) this.post(event, value, known.listener);
    }
  }

  /** Player.js takes only a frame for ready whose address is the one that the page gave it, with all parameters. */
  private ready(listener: string | undefined): void {
    this.post('ready', { src: location.href, events: EVENTS, methods: METHODS }, listener);
  }

  private post(event: string, value: unknown, listener: string | undefined): void {
    if (this.origin === null) return;
    window.parent.postMessage(JSON.stringify({ context: CONTEXT, version: VERSION, event, value, listener }), this.origin);
  }
}
