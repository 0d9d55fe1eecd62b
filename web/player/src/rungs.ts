/**
 * Adds renditions that appear while a video grows to a running hls.js session. hls.js reads the multivariant playlist
 * once; a second instance without media reads it again, and the new renditions move into the running one.
 */

import Hls, { Events, type Level, type MediaPlaylist } from 'hls.js';

/** The entries of a multivariant playlist. */
export interface Listing {
  levels: Level[];
  audio: MediaPlaylist[];
  text: MediaPlaylist[];
}

/** How long the playlist may take. */
const DEADLINE_MS = 15_000;

/** The directory of a media playlist: a rendition's playlists of growing and of final videos are siblings. */
export function rendition(url: string): string {
  return new URL('.', new URL(url, 'http://relative.invalid')).href;
}

/** Reads the multivariant playlist; null if that fails. */
export function readListing(url: string): Promise<Listing | null> {
  return new Promise((resolve) => {
    const reader = new Hls({ autoStartLoad: false });
    const finish = (listing: Listing | null) => {
      clearTimeout(timer);
      reader.destroy();
      resolve(listing);
    };
    const timer = setTimeout(() => finish(null), DEADLINE_MS);
    reader.on(Events.MANIFEST_PARSED, (_, { levels, audioTracks, subtitleTracks }) => {
      finish({ levels: [...levels], audio: [...audioTracks], text: [...subtitleTracks] });
    });
    reader.on(Events.ERROR, (_, { fatal }) => {
      if (fatal) finish(null);
    });
    reader.loadSource(url);
  });
}

/** Adds the levels of `found` that `hls` does not have. Playback goes on: only the choice grows. */
export function addLevels(hls: Hls, found: readonly Level[]): boolean {
  const known = new Set(hls.levels.map((level) => rendition(level.uri)));
  // Another transcode of the video has other renditions; the session keeps those that it began with.
  if (!found.some((level) => known.has(rendition(level.uri)))) return false;
  const groups = new Set(hls.allAudioTracks.map((track) => track.groupId));
  const playable = (level: Level) => !level.audioGroups?.length || level.audioGroups.some((group) => groups.has(group ?? ''));
  const fresh = found.filter((level) => !known.has(rendition(level.uri)) && playable(level));
  if (fresh.length === 0) return false;
  const index = hls.loadLevel;
  const current = hls.levels[index];
  const automatic = hls.autoLevelEnabled;
  const levels = [...hls.levels, ...fresh].sort((a, b) => a.height - b.height || a.averageBitrate - b.averageBitrate);
  // Fragments name their level by its index.
  levels.forEach((level, position) => {
    for (const fragment of level.details?.fragments ?? []) fragment.level = position;
    const init = level.details?.fragments[0]?.initSegment;
    if (init) init.level = position;
  });
  hls.trigger(Events.LEVELS_UPDATED, { levels });
  const moved = current ? levels.indexOf(current) : -1;
  if (moved >= 0 && moved !== index) {
    hls.loadLevel = moved;
    if (automatic) hls.loadLevel = -1;
  }
  return true;
}

/** Adds the audio tracks of `found` that `hls` does not have, at the end of its list. */
export function addAudio(hls: Hls, found: readonly MediaPlaylist[]): boolean {
  const active = hls.audioTracks;
  const known = new Set(hls.allAudioTracks.map((track) => rendition(track.url)));
  const group = active[0]?.groupId;
  const fresh = found.filter((track) => track.url && track.groupId === group && !known.has(rendition(track.url)));
  for (const track of fresh) {
    track.id = active.length;
    active.push(track);
    if (!hls.allAudioTracks.includes(track)) hls.allAudioTracks.push(track);
  }
  return fresh.length > 0;
}
