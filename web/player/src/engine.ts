/**
 * Plays HLS with hls.js through Media Source Extensions; with the browser's own player only where those are missing.
 *
 * A growing video is a live playlist for hls.js. Three settings make it behave like a video that is there as a whole:
 * the start position, the overridden duration, and no position to synchronize with the end of the playlist.
 */

import Hls, { ErrorTypes, Events, type ErrorData, type HlsConfig, type MediaPlaylist } from 'hls.js';
import { addAudio, addLevels, readListing, rendition } from './rungs';
import { problemOf, type Problem } from './retry';

/** Events of the engine. */
export interface EngineEvents {
  /** The listed part, the renditions or the choice among them changed. */
  onChange(): void;
  /** The text tracks of the video, again whenever some are added. */
  onText(tracks: readonly MediaPlaylist[]): void;
  /** Media has arrived: what went wrong before is over. */
  onLoaded(): void;
  /** Nothing more is loaded. */
  onProblem(problem: Problem): void;
  /** The address with the newest playback token, for each request. */
  fresh(url: string): string;
}

/** A rendition that the viewer may choose. */
export interface Choice {
  id: number;
  label: string;
}

/** Pauses between reloads of a playlist that does not list yet what an event announced (it is cached for a second). */
const CATCH_UP_MS = [0, 300, 600, 1000, 1500, 2000];
/** The multivariant playlist is not read more often than this while a video grows. */
const LISTING_INTERVAL_MS = 4000;
/** A second media error within this time is a problem; the first one is repaired. */
const MEDIA_ERROR_INTERVAL_MS = 10_000;

/** The settings of hls.js for a video of the service. */
function settings(startAt: number, contentId: string, fresh: EngineEvents['fresh']): Partial<HlsConfig> {
  return {
    startPosition: startAt,
    // Not a number: hls.js then never moves playback towards the end of a growing playlist, not even after a stall
    // there, when audio is a few milliseconds ahead of the listed end.
    liveSyncDuration: Number.NaN,
    lowLatencyMode: false,
    backBufferLength: 90,
    cmcd: { contentId },
    xhrSetup: (xhr, url) => xhr.open('GET', fresh(url), true),
    // Text tracks are <track> elements with their own files; encryption and interstitials do not occur.
    subtitleStreamController: undefined,
    subtitleTrackController: undefined,
    timelineController: undefined,
    emeController: undefined,
    interstitialsController: undefined
  };
}

/** One session of playback. */
export class Engine {
  /** Whether hls.js plays; otherwise the browser's own HLS player. */
  readonly usesHls = Hls.isSupported();
  /** Whether the video has pictures; true until the playlists are known. */
  hasVideo = true;
  private hls: Hls | null = null;
  private readonly overrides: { duration?: number } = {};
  private text: MediaPlaylist[] = [];
  private announced = 0;
  private catchUp: ReturnType<typeof setTimeout> | undefined;
  private listingTimer: ReturnType<typeof setTimeout> | undefined;
  private listedAt = Number.NEGATIVE_INFINITY;
  private mediaErrorAt = Number.NEGATIVE_INFINITY;
  private listedRenditions: Set<string> | null = null;

  constructor(
    private readonly media: HTMLVideoElement,
    private readonly url: string,
    contentId: string,
    startAt: number,
    duration: number | null,
    private readonly events: EngineEvents
  ) {
    if (duration !== null) this.overrides.duration = duration;
    if (this.usesHls) {
      this.hls = this.begin(settings(startAt, contentId, events.fresh));
    } else if (media.canPlayType('application/vnd.apple.mpegurl')) {
      this.beginNative(startAt);
    } else {
      queueMicrotask(() => events.onProblem('unsupported'));
    }
  }

  private begin(config: Partial<HlsConfig>): Hls {
    const hls = new Hls(config);
    hls.on(Events.MANIFEST_PARSED, (_, { video, subtitleTracks }) => {
      this.hasVideo = video;
      this.listedAt = performance.now();
      this.addText(subtitleTracks);
      this.cap();
      this.events.onChange();
    });
    hls.on(Events.LEVEL_UPDATED, () => this.updated());
    hls.on(Events.AUDIO_TRACK_UPDATED, () => this.updated());
    for (const event of [Events.LEVEL_SWITCHED, Events.AUDIO_TRACKS_UPDATED, Events.AUDIO_TRACK_SWITCHED] as const) {
      hls.on(event, () => this.events.onChange());
    }
    hls.on(Events.FRAG_BUFFERED, () => this.events.onLoaded());
    hls.on(Events.ERROR, (_, data) => this.failed(data));
    hls.loadSource(this.url);
    hls.attachMedia({ media: this.media, overrides: this.overrides });
    return hls;
  }

  private beginNative(startAt: number): void {
    const { media } = this;
    media.addEventListener('loadedmetadata', () => {
      if (startAt > 0) media.currentTime = startAt;
      this.events.onChange();
    }, { once: true });
    media.addEventListener('progress', this.arrived);
    media.src = this.events.fresh(this.url);
  }

  private readonly arrived = () => {
    this.events.onLoaded();
    this.events.onChange();
  };

  /** The end of the part that can be played now, in seconds: listed for pictures and sound. */
  get edge(): number {
    const { hls, media } = this;
    if (!hls) return media.seekable.length > 0 ? media.seekable.end(media.seekable.length - 1) : 0;
    const ends = [hls.latestLevelDetails?.edge, hls.audioTracks[hls.audioTrack]?.details?.edge];
    const known = ends.filter((end) => end !== undefined);
    return known.length > 0 ? Math.min(...known) : 0;
  }

  /** Whether the playlists have their end. */
  get final(): boolean {
    if (!this.hls) return Number.isFinite(this.media.duration);
    return this.hls.latestLevelDetails?.live === false;
  }

  /** Sets the duration, if playback began before it was known. */
  setDuration(duration: number): void {
    this.overrides.duration ??= duration;
  }

  private updated(): void {
    const details = this.hls?.latestLevelDetails;
    // The probed duration may differ from that of the encoded video by more than rounding.
    if (details && !details.live && Math.abs((this.overrides.duration ?? details.edge) - details.edge) > 0.1) {
      this.overrides.duration = details.edge;
    }
    this.events.onChange();
  }

  /** An event has announced that segments up to `edge` are listed, or (`complete`) that nothing follows. */
  announce(edge: number, complete: boolean): void {
    if (!this.hls) return;
    this.announced = complete ? Number.POSITIVE_INFINITY : edge;
    clearTimeout(this.catchUp);
    this.reload(0);
    this.refreshListing(complete);
  }

  private get behind(): boolean {
    return !this.final && this.edge < this.announced - 0.05;
  }

  private reload(attempt: number): void {
    const pause = CATCH_UP_MS[attempt];
    if (pause === undefined || !this.behind) return;
    this.catchUp = setTimeout(() => {
      if (!this.behind) return;
      this.reloadPlaylists();
      this.reload(attempt + 1);
    }, pause);
  }

  private reloadPlaylists(): void {
    const { hls } = this;
    const level = hls?.levels[hls.loadLevel];
    if (!hls || !level?.details) return;
    const common = { id: 0, deliveryDirectives: null };
    hls.trigger(Events.LEVEL_LOADING, {
      ...common, url: level.uri, level: hls.loadLevel, levelInfo: level, pathwayId: undefined
    });
    const track = hls.audioTracks[hls.audioTrack];
    if (track?.details) {
      hls.trigger(Events.AUDIO_TRACK_LOADING, { ...common, url: track.url, id: track.id, groupId: track.groupId, track });
    }
  }

  /** Reads the multivariant playlist again, for rungs and tracks that are new; at once, or not too often. */
  private refreshListing(now: boolean): void {
    const wait = now ? 0 : this.listedAt + LISTING_INTERVAL_MS - performance.now();
    clearTimeout(this.listingTimer);
    this.listingTimer = setTimeout(async () => {
      this.listedAt = performance.now();
      const listing = await readListing(this.events.fresh(this.url));
      const { hls } = this;
      if (!listing || !hls || hls.levels.length === 0) return;
      this.listedRenditions = new Set(listing.levels.map((level) => rendition(level.uri)));
      const added = addLevels(hls, listing.levels);
      const heard = addAudio(hls, listing.audio);
      this.cap();
      this.addText(listing.text);
      if (added || heard) this.events.onChange();
    }, Math.max(0, wait));
  }

  private addText(tracks: readonly MediaPlaylist[]): void {
    const known = new Set(this.text.map((track) => rendition(track.url)));
    const fresh = tracks.filter((track) => !known.has(rendition(track.url)));
    if (fresh.length === 0) return;
    this.text.push(...fresh);
    this.events.onText(this.text);
  }

  /**
   * Limits the automatic choice to rungs that the player's size can show and, while the video grows, to those that are
   * listed: a rung that is encoded too slowly leaves the multivariant playlist until it has caught up.
   */
  cap(): void {
    const { hls, media } = this;
    if (!hls || hls.levels.length === 0) return;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [media.clientWidth * ratio, media.clientHeight * ratio];
    const enough = width > 0 ? hls.levels.findIndex((level) => level.width >= width || level.height >= height) : -1;
    let limit = enough < 0 ? hls.levels.length - 1 : enough;
    const listed = this.listedRenditions;
    if (listed && !this.final) {
      while (limit > 0 && !listed.has(rendition(hls.levels[limit]!.uri))) limit--;
    }
    hls.autoLevelCapping = limit === hls.levels.length - 1 ? -1 : limit;
  }

  /** The rungs, best first. */
  get qualities(): Choice[] {
    const levels = this.hls?.levels ?? [];
    const labels = levels.map((level) => `${Math.min(level.width, level.height) || level.height}p`);
    const choices = levels.map((level, id) => {
      const twice = labels.filter((label) => label === labels[id]).length > 1;
      const codec = level.videoCodec?.split('.')[0] ?? '';
      return { id, label: twice ? `${labels[id]} ${codec}` : labels[id]! };
    });
    return this.hasVideo ? choices.reverse() : [];
  }

  /** The chosen rung; -1 for the automatic choice. */
  get quality(): number {
    return this.hls && !this.hls.autoLevelEnabled ? this.hls.manualLevel : -1;
  }

  set quality(id: number) {
    if (!this.hls) return;
    if (id < 0) this.hls.loadLevel = -1;
    else if (id < this.hls.levels.length) this.hls.nextLevel = id;
    this.events.onChange();
  }

  /** The rung on screen; -1 before the first picture. */
  get shown(): number {
    return this.hls?.currentLevel ?? -1;
  }

  /** The audio tracks. */
  get sounds(): (Choice & { language: string })[] {
    const tracks = this.hls?.audioTracks ?? [];
    return tracks.map((track, id) => ({ id, label: track.name || track.lang || '', language: track.lang ?? '' }));
  }

  /** The chosen audio track. */
  get sound(): number {
    return this.hls?.audioTrack ?? -1;
  }

  set sound(id: number) {
    if (this.hls) this.hls.audioTrack = id;
  }

  private failed(data: ErrorData): void {
    if (!data.fatal) return;
    const { hls } = this;
    if (data.type === ErrorTypes.MEDIA_ERROR && hls) {
      const now = performance.now();
      if (data.details === 'manifestIncompatibleCodecsError') return this.events.onProblem('unsupported');
      if (now - this.mediaErrorAt > MEDIA_ERROR_INTERVAL_MS) {
        this.mediaErrorAt = now;
        return hls.recoverMediaError();
      }
      return this.events.onProblem('media');
    }
    const status = data.response?.code ?? (data.networkDetails as XMLHttpRequest | undefined)?.status;
    this.events.onProblem(data.type === ErrorTypes.NETWORK_ERROR ? problemOf(status) : 'media');
  }

  /** Goes on at `position`, in seconds, after a problem. */
  resume(position: number): void {
    const { hls } = this;
    if (!hls) {
      this.beginNative(position);
      this.media.load();
    } else if (hls.levels.length === 0) {
      hls.config.startPosition = position;
      hls.loadSource(this.url);
    } else if (this.media.error) {
      hls.recoverMediaError();
    } else {
      hls.startLoad(position);
    }
  }

  /** Ends the media after the buffered part, although the playlists have no end yet. */
  finish(): void {
    for (const type of ['video', 'audio'] as const) this.hls?.trigger(Events.BUFFER_EOS, { type });
  }

  /** Ends the session and frees the media element. */
  destroy(): void {
    clearTimeout(this.catchUp);
    clearTimeout(this.listingTimer);
    this.media.removeEventListener('progress', this.arrived);
    this.hls?.destroy();
    if (!this.hls) this.media.removeAttribute('src');
    this.hls = null;
  }
}
