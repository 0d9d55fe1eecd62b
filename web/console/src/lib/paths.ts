/** Paths of the service as the browser sees them, with the prefix that a proxy may add before `/console`. */
import { resolve } from '$app/paths';

/** The part of the path before `/console` and `/api`, usually empty. */
export const root: string = resolve('/').replace(/\/console\/$/, '');

/** The URL of a path of the service such as `/api/videos`; absolute URLs (of a CDN) stay as they are. */
export function serviceUrl(path: string): string {
  return path.startsWith('/') ? root + path : path;
}

/** The absolute URL of a video's page, for people to share. */
export function watchUrl(videoId: string): string {
  return new URL(`${root}/watch/${videoId}`, location.href).href;
}
