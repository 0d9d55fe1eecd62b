/** The stages of a video after its last byte, as the Upload screen shows them. */
import type { JobSummary, Video } from '../api/types';

export type Stage =
  | { kind: 'examining' }
  | { kind: 'queued'; place: number | null }
  /** `progress` is a fraction of 1. */
  | { kind: 'encoding'; progress: number }
  | { kind: 'ready' }
  | { kind: 'failed'; message: string }
  | { kind: 'uploaded' };

/** The stage of an uploaded video; `video` is null until the first event about it. */
export function stageOf(video: Video | null, job: JobSummary | null): Stage {
  if (!video || video.state === 'uploading' || video.state === 'probing') return { kind: 'examining' };
  if (video.state === 'failed') return { kind: 'failed', message: video.error?.message ?? job?.error?.message ?? '' };
  if (video.state === 'ready') return { kind: 'ready' };
  if (job?.state === 'queued') return { kind: 'queued', place: job.queuePosition ?? null };
  if (job?.state === 'running' || video.state === 'processing') return { kind: 'encoding', progress: (job?.progress ?? 0) / 100 };
  return { kind: 'uploaded' };
}
