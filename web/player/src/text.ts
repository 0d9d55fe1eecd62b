/** Text tracks: `<track>` elements with the service's own WebVTT files, the choice among them, and their look. */

import type { MediaPlaylist } from 'hls.js';
import { preferences, type TextStyle } from './preferences';

/** A text track that the viewer may choose. */
export interface TextChoice {
  /** The id of the track's file. */
  id: string;
  label: string;
  language: string;
  /** Captions describe sounds, too. */
  captions: boolean;
  /** Translates only the parts spoken in another language; shown without being chosen. */
  forced: boolean;
}

const SIZES: Record<TextStyle['size'], string> = { small: '75%', medium: '100%', large: '150%', huge: '200%' };
const COLOURS: Record<TextStyle['colour'], string> = { white: '#fff', yellow: '#ff0', cyan: '#0ff', green: '#0f0' };
const BACKGROUNDS: Record<TextStyle['background'], string> = { solid: 'black', half: 'rgb(0 0 0 / .6)', none: 'transparent' };

/** The CSS rule of text tracks. */
export function cueRule({ size, colour, background }: TextStyle): string {
  const shadow = background === 'none' ? 'text-shadow: 0 0 3px black, 0 0 3px black, 0 0 3px black;' : '';
  return `video::cue { font-size: ${SIZES[size]}; color: ${COLOURS[colour]}; background: ${BACKGROUNDS[background]}; ${shadow} }`;
}

/** The address of a track's file, next to the renditions of its HLS playlist; null for playlists of other services. */
export function fileOf(playlist: string): { id: string; url: string } | null {
  const url = new URL(playlist, document.baseURI);
  const match = /\/text-([0-9a-f-]+)\/[^/]+$/.exec(url.pathname);
  if (!match) return null;
  const file = new URL(`../../captions/${match[1]}.vtt`, url);
  const token = url.searchParams.get('token');
  if (token !== null) file.searchParams.set('token', token);
  return { id: match[1]!, url: file.href };
}

const primary = (tag: string) => tag.toLowerCase().split('-')[0]!;

/**
 * The track to show at first. `cc` is the parameter: a language, `1` for the first track, `0` for none; without it the
 * viewer's last choice counts.
 */
export function initialText(tracks: readonly TextChoice[], cc: string | null, last: string | null): TextChoice | null {
  const full = tracks.filter((track) => !track.forced);
  const wanted = cc ?? last ?? '';
  if (wanted === '' || wanted === '0') return null;
  if (wanted === '1') return full[0] ?? null;
  const exact = full.find((track) => track.language.toLowerCase() === wanted.toLowerCase());
  return exact ?? full.find((track) => primary(track.language) === primary(wanted)) ?? null;
}

/** The text tracks of one player. */
export class TextTracks {
  readonly choices: TextChoice[] = [];
  private readonly elements = new Map<string, HTMLTrackElement>();
  private readonly sheet = new CSSStyleSheet();
  private decided = false;
  private current: string | null = null;

  constructor(
    private readonly media: HTMLVideoElement,
    root: ShadowRoot,
    private readonly cc: () => string | null,
    private readonly audioLanguage: () => string,
    private readonly fresh: (url: string) => string
  ) {
    root.adoptedStyleSheets = [...root.adoptedStyleSheets, this.sheet];
    this.style(preferences.textStyle);
    // The browser shows tracks by its own settings, some time after they were added.
    media.textTracks.addEventListener('change', () => this.apply());
  }

  /** Sets the look. */
  style(style: TextStyle): void {
    this.sheet.replaceSync(cueRule(style));
  }

  /** Offers the tracks of a multivariant playlist that are not offered yet. */
  add(tracks: readonly MediaPlaylist[]): void {
    for (const track of tracks) {
      const file = fileOf(track.url);
      if (!file || this.elements.has(file.id)) continue;
      const captions = (track.characteristics ?? '').includes('public.accessibility');
      const choice = { id: file.id, label: track.name || track.lang || '', language: track.lang ?? '', captions, forced: track.forced };
      const element = document.createElement('track');
      element.kind = captions ? 'captions' : 'subtitles';
      element.label = choice.label;
      element.srclang = choice.language;
      element.src = file.url;
      this.media.append(element);
      element.track.mode = 'disabled';
      this.elements.set(file.id, element);
      this.choices.push(choice);
    }
    if (!this.decided) {
      const choice = initialText(this.choices, this.cc(), preferences.text);
      this.decided = choice !== null;
      this.current = choice?.id ?? null;
    }
    this.apply();
  }

  /** Shows a track; null hides all but a forced one. The choice is remembered. */
  choose(id: string | null): void {
    this.decided = true;
    this.current = id;
    preferences.text = this.choices.find((choice) => choice.id === id)?.language ?? '';
    this.apply();
  }

  /** The chosen track. */
  get chosen(): string | null {
    return this.current;
  }

  /** Hides the track, or shows the one that was chosen last, otherwise the first. */
  toggle(): void {
    if (this.current !== null) return this.choose(null);
    const last = initialText(this.choices, null, preferences.text) ?? initialText(this.choices, '1', null);
    if (last) this.choose(last.id);
  }

  private apply(): void {
    const spoken = primary(this.audioLanguage());
    const forced = this.choices.find((choice) => choice.forced && primary(choice.language) === spoken);
    const shown = this.current ?? forced?.id ?? null;
    for (const [id, element] of this.elements) {
      const mode = id === shown ? 'showing' : 'disabled';
      const url = this.fresh(element.src);
      if (mode === 'showing' && element.readyState !== HTMLTrackElement.LOADED && url !== element.src) element.src = url;
      if (element.track.mode !== mode) element.track.mode = mode;
    }
  }

  /** Removes the tracks, before another video. */
  clear(): void {
    for (const element of this.elements.values()) element.remove();
    this.elements.clear();
    this.choices.length = 0;
    this.decided = false;
    this.current = null;
  }
}
