/** Deletes a video, after asking once and listing the losses. */
import { api, call } from '../api';
import type { Video } from '../api/types';
import { confirm } from '../confirm';
import { live } from '../events';
import { m } from '../i18n';

/** Resolves to whether the video was deleted. Throws an `ApiError`. */
export async function removeVideo(video: Video): Promise<boolean> {
  const t = m().video.remove;
  const tracks = video.captions?.length ?? 0;
  const loses = [t.source, t.encoded];
  if (tracks > 0) loses.push(t.tracks(tracks));
  loses.push(t.links);
  if (video.state === 'processing') loses.push(t.job);
  const title = t.ask(video.title || m().video.untitled);
  if (!(await confirm({ title, loses, action: t.confirm, keep: t.keep }))) return false;
  await call(api.DELETE('/api/videos/{id}', { params: { path: { id: video.videoId } } }));
  live.videos.delete(video.videoId);
  return true;
}
