/** The attributes of `<stream-player>`. docs/player.md describes them. */

import { parseTime } from './time';

/** The attributes whose changes the element observes. */
export const ATTRIBUTES = [
  'src', 'events', 'duration', 'state', 'poster', 'poster-off', 'storyboard', 'title', 'video', 'lang', 'controls', 'loop', 'muted'
];

/** Whether a boolean attribute is set; `0` and `false` turn it off. */
export function flag(element: Element, name: string): boolean {
  const value = element.getAttribute(name);
  return value !== null && value !== '0' && value !== 'false';
}

/** The id of the video: `video`, otherwise the id in its address. */
export function contentOf(element: Element): string {
  const url = element.getAttribute('src') ?? element.getAttribute('events') ?? '';
  return element.getAttribute('video') ?? /\/stream\/([^/]+)\//.exec(url)?.[1] ?? url;
}

/** The playlist: `src`, otherwise the one next to the events. */
export function playlistOf(element: Element): string | null {
  const [src, events] = [element.getAttribute('src'), element.getAttribute('events')];
  if (src || !events) return src;
  const base = new URL(events, document.baseURI);
  return new URL(`hls/playlist.m3u8${base.search}`, base).href;
}

/** The time in an attribute, in seconds; null if it is absent or invalid, or past the end. */
export function timeOf(element: Element & { readonly duration: number }, name: 't' | 'end'): number | null {
  const time = parseTime(element.getAttribute(name));
  return time !== null && !(time >= element.duration) ? time : null;
}
