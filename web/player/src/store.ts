/** The state that media-chrome's elements show and change, with the parts that this player decides itself. */

import { createMediaStore } from 'media-chrome/dist/media-store/media-store.js';
import { stateMediator } from 'media-chrome/dist/media-store/state-mediator.js';
import { requestMap } from 'media-chrome/dist/media-store/request-map.js';
import { MediaUIEvents } from 'media-chrome/dist/constants.js';
import { tileAt, type Tile } from './storyboard';

/** The decisions that the player makes itself. */
export interface Decisions {
  /** Seeks; positions that are not encoded yet are remembered. */
  seek(position: number): void;
  /** The whole duration in seconds; not a number while it is unknown. */
  readonly duration: number;
  readonly tiles: readonly Tile[];
  /** An address with the newest playback token. */
  fresh(url: string): string;
  /** Shows the text track of the last choice, or hides it. */
  toggleText(): void;
}

/** Creates the store of a player. */
export function createStore(media: HTMLVideoElement, fullscreenElement: HTMLElement, player: Decisions) {
  const known = (value: number) => Number.isFinite(value) && value > 0;
  const mediator = {
    ...stateMediator,
    mediaCurrentTime: {
      ...stateMediator.mediaCurrentTime,
      set: (value: number) => {
        if (Number.isFinite(Number(value))) player.seek(Number(value));
      }
    },
    mediaDuration: {
      ...stateMediator.mediaDuration,
      get: () => (known(player.duration) ? player.duration : Number.NaN)
    },
    mediaSeekable: {
      ...stateMediator.mediaSeekable,
      mediaEvents: [...stateMediator.mediaSeekable.mediaEvents!, 'durationchange'],
      get: () => (known(player.duration) ? [0, player.duration] : undefined)
    },
    // A growing video differs from a broadcast.
    mediaStreamType: { ...stateMediator.mediaStreamType, get: () => 'on-demand' },
    mediaTimeIsLive: { ...stateMediator.mediaTimeIsLive, get: () => false }
  } as unknown as typeof stateMediator;
  const requests = {
    ...requestMap,
    [MediaUIEvents.MEDIA_PREVIEW_REQUEST]: (_mediator: unknown, _owners: unknown, { detail }: { detail?: number | null }) => {
      const tile = typeof detail === 'number' ? tileAt(player.tiles, detail) : null;
      return {
        mediaPreviewTime: detail ?? undefined,
        mediaPreviewImage: tile ? player.fresh(tile.url) : undefined,
        mediaPreviewCoords: tile?.box,
        mediaPreviewChapter: ''
      };
    },
    [MediaUIEvents.MEDIA_TOGGLE_SUBTITLES_REQUEST]: () => player.toggleText()
  } as unknown as typeof requestMap;
  return createMediaStore({
    media,
    fullscreenElement,
    documentElement: document,
    stateMediator: mediator,
    requestMap: requests,
    options: { noSubtitlesLangPref: true }
  });
}
