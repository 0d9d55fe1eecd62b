/** Posters of private videos: fetched with the session's token and shown as blob URLs, so that no token is in a URL. */
import { send } from './api';
import { serviceUrl } from './paths';

/** Images kept; the oldest goes first. */
const KEPT_MAX = 200;
const kept = new Map<string, Promise<string | null>>();

async function load(path: string): Promise<string | null> {
  const response = await send(new Request(serviceUrl(path))).catch(() => null);
  return response?.ok ? URL.createObjectURL(await response.blob()) : null;
}

/** The blob URL of a private poster; null when it cannot be loaded. `path` is the one that the video's JSON lists. */
export function privatePoster(path: string): Promise<string | null> {
  const known = kept.get(path);
  if (known) return known;
  const image = load(path);
  kept.set(path, image);
  void image.then((url) => url ?? kept.delete(path));
  const oldest = kept.entries().next();
  if (kept.size > KEPT_MAX && !oldest.done) {
    kept.delete(oldest.value[0]);
    void oldest.value[1].then((url) => url && URL.revokeObjectURL(url));
  }
  return image;
}

/** Forgets all images; called when a session ends. */
export function forgetPosters(): void {
  for (const image of kept.values()) void image.then((url) => url && URL.revokeObjectURL(url));
  kept.clear();
}
