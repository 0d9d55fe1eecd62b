/** The titles of videos that other screens name; jobs carry only the id. */
import { api, call } from '../api';
import { live } from '../events';
import { m } from '../i18n';
import { session } from '../session';

/** The most recent videos, which most jobs belong to, in one request. */
const PAGE_SIZE = 100;

class VideoTitles {
  #asked = new Set<string>();
  #me: unknown = null;

  /** Reads the titles of the newest videos unless those of `ids` are known; sends one request at most. */
  async ensure(ids: readonly string[]): Promise<void> {
    if (this.#me !== session.me) this.#asked.clear();
    this.#me = session.me;
    const missing = ids.filter((id) => !live.videos.has(id) && !this.#asked.has(id));
    if (missing.length === 0) return;
    for (const id of missing) this.#asked.add(id);
    const mark = live.mark();
    const read = call(api.GET('/api/videos', { params: { query: { pageSize: PAGE_SIZE } } }));
    // Without titles the list is still usable; the next one tries again.
    const reply = await read.catch(() => null);
    if (reply) live.putVideos(reply.videos, mark);
    else for (const id of missing) this.#asked.delete(id);
  }
}

export const videoTitles = new VideoTitles();

/** The title of a video, or a name with the beginning of its id. */
export function videoTitle(id: string): string {
  return live.videos.get(id)?.title || `${m().jobs.noVideo} ${id.slice(-8)}`;
}
