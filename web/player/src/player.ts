/** The custom element `<stream-player>`. docs/player.md describes its attributes, properties and events. */

import { setLanguage } from 'media-chrome/dist/utils/i18n.js';
import { Engine } from './engine';
import { VideoEvents } from './events';
import { complete, reachable, type Growth } from './growth';
import { actions } from './actions';
import { ATTRIBUTES, contentOf, flag, playlistOf, timeOf } from './attributes';
import { press } from './keys';
import { catalogues, language, type Messages } from './messages';
import { show, type Situation } from './notices';
import { preferences } from './preferences';
import { Resume } from './resume';
import { backoff, passes, type Problem } from './retry';
import { Settings } from './settings';
import './seek-bar';
import { createStore } from './store';
import { readStoryboard, type Tile } from './storyboard';
import { build, type Parts } from './template';
import { TextTracks } from './text';
import { PlaybackTokens } from './token';

/** A segment that an event has announced for this long is reachable, also if the chosen rung does not list it yet. */
const ANNOUNCED_MS = 1500;
/** How often waiting times are counted down. */
const TICK_MS = 1000;

/** Plays one video of the service. */
export class StreamPlayer extends HTMLElement {
  static readonly observedAttributes = ATTRIBUTES;

  engine: Engine | null = null;
  messages: Messages = catalogues.en!;
  text!: TextTracks;
  tiles: readonly Tile[] = [];
  private parts!: Parts;
  private settings!: Settings;
  private resume!: Resume;
  private stream: VideoEvents | null = null;
  private readonly tokens = new PlaybackTokens();
  /** An address of the video with the newest playback token. */
  readonly fresh = (url: string): string => this.tokens.fresh(url);
  private growth: Growth | null = null;
  private growthAt = 0;
  /** The remembered position, which is not encoded yet. */
  pending: number | null = null;
  private problem: Problem | null = null;
  private failures = 0;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private ticker: ReturnType<typeof setInterval> | undefined;
  private lastTime = 0;
  private life: AbortController | null = null;

  connectedCallback(): void {
    if (this.life) return;
    this.life = new AbortController();
    const tag = language(this.getAttribute('lang'), navigator.languages);
    this.messages = catalogues[tag]!;
    setLanguage(tag);
    this.parts = build(this.shadowRoot ?? this.attachShadow({ mode: 'open' }), this.messages);
    const { video, controller } = this.parts;
    video.muted = flag(this, 'muted') || flag(this, 'autoplay');
    video.loop = flag(this, 'loop') && !this.hasAttribute('end');
    video.playbackRate = video.defaultPlaybackRate = preferences.speed;
    this.text = new TextTracks(video, this.shadowRoot!, () => this.getAttribute('cc'), () => this.audioLanguage, this.fresh);
    this.settings = new Settings(this.parts.panel, this.parts.settings, this);
    this.resume = new Resume(this, this.parts, this.life.signal);
    controller.mediaStore = createStore(video, this, this);
    controller.fullscreenElement = this;
    this.listen(this.life.signal);
    this.tokens.adopt(playlistOf(this));
    this.showPoster();
    void this.loadStoryboard();
    this.connect();
    this.begin();
    this.refresh();
  }

  disconnectedCallback(): void {
    // An element that is only moved is connected again within the same task.
    queueMicrotask(() => {
      if (!this.isConnected) this.end();
    });
  }

  private end(): void {
    this.resume.save();
    this.life?.abort();
    this.life = null;
    this.stream?.close();
    this.stream = null;
    this.tokens.adopt(null);
    this.stopPlayback();
    clearTimeout(this.retryTimer);
    clearInterval(this.ticker);
    this.growth = this.pending = this.problem = null;
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null): void {
    if (!this.life || before === now) return;
    this.tokens.adopt(playlistOf(this));
    switch (name) {
      case 'src':
      case 'video':
        this.stopPlayback();
        this.pending = this.problem = null;
        this.begin();
        break;
      case 'events': this.connect(); break;
      case 'duration': this.engine?.setDuration(this.duration); break;
      case 'poster':
      case 'poster-off': this.showPoster(); break;
      case 'storyboard': void this.loadStoryboard(); break;
      case 'loop': this.video.loop = flag(this, 'loop') && !this.hasAttribute('end'); break;
      case 'muted': this.video.muted = flag(this, 'muted'); break;
      case 'lang':
        this.end();
        this.connectedCallback();
        break;
    }
    this.refresh();
  }

  /** The media element. */
  get video(): HTMLVideoElement {
    return this.parts.video;
  }

  /** The whole duration in seconds, also while the video is encoded; not a number while it is unknown. */
  get duration(): number {
    const probed = this.growth?.duration ?? (Number(this.getAttribute('duration')) || null);
    const { duration } = this.parts?.video ?? {};
    if (this.final && duration !== undefined && Number.isFinite(duration)) return duration;
    return probed ?? (duration !== undefined && Number.isFinite(duration) ? duration : Number.NaN);
  }

  /** Whether everything is encoded and listed. */
  get final(): boolean {
    return this.engine?.final ?? false;
  }

  /** The end of the encoded part in seconds. */
  get edge(): number {
    const announced = this.growth && this.growth.state !== 'waiting' ? this.growth.edge : 0;
    return Math.max(announced, this.engine?.edge ?? 0);
  }

  /** The position in seconds. */
  get currentTime(): number {
    return this.video.currentTime;
  }

  set currentTime(position: number) {
    this.seek(position);
  }

  /** The language of the chosen audio track. */
  get audioLanguage(): string {
    return this.engine?.sounds[this.engine.sound]?.language ?? '';
  }

  play(): Promise<void> {
    return this.video.play();
  }

  pause(): void {
    this.video.pause();
  }

  /** Seeks; a position that is not encoded yet is remembered, and playback jumps there once it is. */
  seek(position: number): void {
    if (!Number.isFinite(position)) return;
    const target = Math.min(Math.max(0, position), this.duration || Number.POSITIVE_INFINITY);
    this.resume.hide();
    if (this.canReach(target)) {
      this.pending = null;
      this.video.currentTime = target;
    } else {
      this.pending = target;
    }
    this.refresh();
  }

  toggleText(): void {
    this.text.toggle();
    this.refresh();
  }

  private canReach(target: number): boolean {
    const { engine } = this;
    if (!engine) return false;
    const announced = performance.now() - this.growthAt > ANNOUNCED_MS ? (this.growth?.edge ?? 0) : 0;
    const edge = Math.max(engine.edge, announced);
    return reachable(target, edge, engine.final || complete(edge, this.duration));
  }

  /** The id of the video, under which its position is remembered. */
  get contentId(): string {
    return contentOf(this);
  }

  private connect(): void {
    this.stream?.close();
    const url = this.getAttribute('events');
    // A complete video does not change any more.
    const complete = this.getAttribute('state') === 'ready' && this.hasAttribute('src');
    this.stream = url && !complete
      ? new VideoEvents(url, {
          onGrowth: (growth) => this.grow(growth),
          onProblem: (problem) => this.engine || this.fail(problem),
          playing: () => !this.video.paused,
          fresh: this.fresh
        })
      : null;
  }

  private grow(growth: Growth): void {
    const before = this.growth;
    this.growth = growth;
    if (growth.edge !== before?.edge || growth.etaSeconds !== before.etaSeconds) this.growthAt = performance.now();
    const ready = growth.state === 'ready';
    if (growth.duration !== null) this.engine?.setDuration(growth.duration);
    const news = growth.edge !== before?.edge || growth.state !== before.state;
    if (this.engine && news) this.engine.announce(growth.edge, ready);
    else if (!this.engine) {
      if (this.problem) this.recover();
      this.begin();
    }
    if (ready) {
      this.stream?.close();
      this.dispatchEvent(new Event('complete'));
    }
    this.refresh();
  }

  private begin(): void {
    const source = playlistOf(this);
    const state = this.growth?.state ?? this.getAttribute('state') ?? (this.hasAttribute('src') ? 'growing' : 'waiting');
    const playable = state === 'growing' || state === 'ready' || (state === 'failed' && (this.growth ? this.growth.edge > 0 : this.hasAttribute('src')));
    if (!source || this.engine || !playable) return;
    const start = timeOf(this, 't') ?? 0;
    if (start > 0 && state !== 'ready') this.pending = start;
    const known = Number.isFinite(this.duration) ? this.duration : null;
    this.engine = new Engine(this.video, source, this.contentId, state === 'ready' ? start : 0, known, {
      onChange: () => this.changed(),
      onLoaded: () => this.problem && this.recover(),
      onText: (tracks) => this.text.add(tracks),
      onProblem: (problem) => this.fail(problem),
      fresh: this.fresh
    });
    if (!this.hasAttribute('t') && !flag(this, 'autoplay')) this.resume.offer();
    if (flag(this, 'autoplay')) void this.video.play().catch(() => undefined);
    this.dispatchEvent(new Event('playable'));
  }

  private stopPlayback(): void {
    this.engine?.destroy();
    this.engine = null;
    this.text?.clear();
  }

  private changed(): void {
    if (this.pending !== null && this.canReach(this.pending)) {
      this.video.currentTime = this.pending;
      this.pending = null;
    }
    this.settings.refresh();
    this.refresh();
  }

  private fail(problem: Problem): void {
    const unborn = this.engine?.edge === 0 && this.stream !== null && this.growth?.state !== 'ready';
    if (problem === 'missing' && unborn) {
      // The playlist is there once the first chunk is encoded; an event announces it.
      this.stopPlayback();
      this.refresh();
      return;
    }
    this.problem = problem;
    clearTimeout(this.retryTimer);
    if (passes(problem)) this.retryTimer = setTimeout(() => this.retry(), backoff(this.failures++));
    this.refresh();
  }

  private retry(): void {
    clearTimeout(this.retryTimer);
    if (!this.engine) this.connect();
    else this.engine.resume(this.video.currentTime);
    if (this.problem && !passes(this.problem)) this.recover();
  }

  private recover(): void {
    clearTimeout(this.retryTimer);
    this.problem = null;
    this.failures = 0;
    this.refresh();
  }

  private listen(signal: AbortSignal): void {
    const { video, controller, cancel, retry } = this.parts;
    const on = (type: string, act: () => void) => video.addEventListener(type, act, { signal });
    on('timeupdate', () => this.moved());
    on('seeking', () => this.guard());
    on('ratechange', () => (preferences.speed = video.playbackRate));
    on('waiting', () => this.finish());
    for (const type of ['waiting', 'stalled', 'playing', 'canplay', 'seeked', 'durationchange', 'loadedmetadata']) on(type, () => this.refresh());
    cancel.addEventListener('click', () => {
      this.pending = null;
      controller.focus();
      this.refresh();
    }, { signal });
    retry.addEventListener('click', () => this.retry(), { signal });
    this.shadowRoot!.addEventListener('keydown', (event) => {
      if (preferences.shortcuts && !this.hasAttribute('data-waiting')) press(event as KeyboardEvent, actions(this));
    }, { signal });
    window.addEventListener('online', () => this.problem && passes(this.problem) && this.retry(), { signal });
    new ResizeObserver(() => this.engine?.cap()).observe(this);
    this.ticker = setInterval(() => this.tick(), TICK_MS);
  }

  private tick(): void {
    if (this.pending !== null) this.changed();
  }

  private moved(): void {
    const { video } = this;
    const [before, now] = [this.lastTime, video.currentTime];
    this.lastTime = now;
    const end = timeOf(this, 'end');
    if (end !== null && before < end && now >= end && now - before < 2 && !video.paused) {
      if (flag(this, 'loop')) this.seek(timeOf(this, 't') ?? 0);
      else video.pause();
    }
    this.refresh();
  }

  /** Ends playback at the end of a video of which only higher rungs are still encoded. */
  private finish(): void {
    const { engine, duration } = this;
    if (!engine || engine.final || !complete(engine.edge, duration)) return;
    if (this.video.currentTime >= Math.min(engine.edge, duration) - 0.5) engine.finish();
  }

  /** Seeks that did not come from this player (media keys, picture-in-picture) stay inside the encoded part, too. */
  private guard(): void {
    const { video, engine } = this;
    if (!engine || engine.edge === 0 || engine.final) return;
    if (video.currentTime <= Math.max(engine.edge, this.edge) + 0.5) return;
    this.pending = video.currentTime;
    video.currentTime = Math.min(this.lastTime, engine.edge);
    this.refresh();
  }

  private showPoster(): void {
    const poster = flag(this, 'poster-off') ? null : this.getAttribute('poster');
    if (poster) this.video.poster = poster;
    else this.video.removeAttribute('poster');
  }

  private async loadStoryboard(): Promise<void> {
    const url = this.getAttribute('storyboard');
    this.tiles = [];
    const tiles = url ? await readStoryboard(url, this.fresh) : [];
    if (url === this.getAttribute('storyboard')) this.tiles = tiles;
  }

  private get situation(): Situation {
    const { video, engine } = this;
    const starved = video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
    const silent = engine !== null && !engine.hasVideo && !video.poster;
    return {
      messages: this.messages,
      growth: this.growth,
      since: (performance.now() - this.growthAt) / 1000,
      edge: this.edge,
      duration: this.duration,
      final: this.final,
      pending: this.pending,
      playing: engine !== null,
      stalled: starved && !video.paused && !video.ended,
      position: video.currentTime,
      // The buffered part plays on.
      problem: starved ? this.problem : null,
      sound: silent ? this.getAttribute('title') || this.messages.sound : null
    };
  }

  /** Shows everything that may have changed. */
  private refresh(): void {
    if (!this.life) return;
    const now = this.situation;
    show(this.parts, now);
    this.toggleAttribute('data-waiting', !now.playing);
    const tag = language(this.getAttribute('lang'), navigator.languages);
    this.parts.seekBar.show(now.final || !now.playing ? null : now.edge, now.pending, now.duration, tag);
    this.video.dispatchEvent(new Event('seekablechange'));
  }
}

if (!customElements.get('stream-player')) customElements.define('stream-player', StreamPlayer);
