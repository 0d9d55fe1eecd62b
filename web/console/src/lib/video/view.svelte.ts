/** One video on screen, read once and then kept by events; and the changes that people make to it. */
import { api, call } from '../api';
import { ApiError, asApiError, errorOf } from '../api/problem';
import type { Video } from '../api/types';
import { live } from '../events';
import { changes, conflicts, editable, type Editable } from './edit';

/** How often a save reads the video again because encoding changed it in between. */
const SAVE_ATTEMPTS_MAX = 5;

/** Thrown when the same field was changed elsewhere; `current` has the other values. */
export class EditConflict extends Error {
  constructor(readonly current: Editable) {
    super('the video was changed elsewhere');
  }
}

export class VideoView {
  error: ApiError | null = $state.raw(null);

  constructor(readonly videoId: string) {}

  /** The video; `undefined` until it is loaded, and after it is deleted. */
  get video(): Video | undefined {
    return live.videos.get(this.videoId);
  }

  /** Whether it was deleted while this tab was open. */
  get deleted(): boolean {
    return live.deleted.has(this.videoId);
  }

  async load(): Promise<void> {
    await live.ready();
    const mark = live.mark();
    const params = { path: { id: this.videoId } };
    try {
      live.putVideos([await call(api.GET('/api/videos/{id}', { params }))], mark);
      this.error = null;
    } catch (error) {
      this.error = asApiError(error);
      // It was deleted while this tab received no events.
      if (this.error.status === 404 && this.video) live.forgetVideo(this.videoId);
    }
  }

  /**
   * Saves what differs between `base` and `draft`; returns the saved values.
   *
   * The change is bound to the version that was compared (`If-Match`). Encoding also makes new
   * versions, so a mismatch is compared again; only a field that was changed on both sides is a
   * conflict, unless `force` is set.
   *
   * Throws `EditConflict`, or `ApiError`.
   */
  async save(base: Editable, draft: Editable, force = false): Promise<Editable> {
    for (let attempt = 1; ; attempt++) {
      const { etag, video } = await this.#read();
      if (!force && conflicts(base, draft, video).length > 0) throw new EditConflict(editable(video));
      const mark = live.mark();
      try {
        const params = { path: { id: this.videoId }, header: etag ? { 'If-Match': etag } : {} };
        const body = changes(base, draft);
        const saved = await call(api.PATCH('/api/videos/{id}', { params, body }));
        live.putVideos([saved], mark);
        return editable(saved);
      } catch (reason) {
        const error = asApiError(reason);
        if (error.status !== 412 || attempt === SAVE_ATTEMPTS_MAX) throw error;
      }
    }
  }

  async #read(): Promise<{ etag: string | null; video: Video }> {
    const params = { path: { id: this.videoId } };
    const reply = await api.GET('/api/videos/{id}', { params, cache: 'no-store' }).catch((reason) => {
      throw asApiError(reason);
    });
    if (!reply.data) throw errorOf(reply.response, reply.error);
    return { etag: reply.response.headers.get('etag'), video: reply.data };
  }
}
