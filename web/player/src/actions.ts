/** The actions of the keyboard shortcuts on a player. */

import type { KeyActions } from './keys';
import type { StreamPlayer } from './player';
import { SPEEDS } from './settings';

const within = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** The actions of one player. */
export function actions(player: StreamPlayer): KeyActions {
  const { video } = player;
  const ignore = () => undefined;
  return {
    toggle: () => (video.paused ? void player.play().catch(ignore) : player.pause()),
    skip: (seconds) => player.seek((player.pending ?? player.currentTime) + seconds),
    goTo: (share) => player.seek(share * player.duration),
    volume: (change) => {
      video.volume = within(video.volume + change, 0, 1);
      if (change > 0) video.muted = false;
    },
    mute: () => (video.muted = !video.muted),
    fullscreen: () => void (document.fullscreenElement ? document.exitFullscreen() : player.requestFullscreen()).catch(ignore),
    pictureInPicture: () => {
      const done = document.pictureInPictureElement ? document.exitPictureInPicture() : video.requestPictureInPicture();
      void done.catch(ignore);
    },
    text: () => player.toggleText(),
    speed: (change) => (video.playbackRate = within(video.playbackRate + change, SPEEDS[0]!, SPEEDS.at(-1)!))
  };
}
