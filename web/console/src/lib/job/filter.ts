/** The filter of the list of jobs. Pure. */
import type { Job } from '../api/types';

/** The choices of the filter; `retrying` is a running job with an attempt above 1. */
export const filters = [
  'all',
  'running',
  'retrying',
  'queued',
  'completed',
  'failed',
  'cancelled'
] as const;

export type JobFilter = (typeof filters)[number];

/** The query of a filter. The service does not distinguish retrying jobs from other running ones. */
export function queryOf(filter: JobFilter): { state?: Job['state'][] } {
  if (filter === 'all') return {};
  return { state: [filter === 'retrying' ? 'running' : filter] };
}

/** Whether a job belongs to the filter, also after it has changed. */
export function matches(filter: JobFilter, job: Pick<Job, 'state' | 'attempt'>): boolean {
  if (filter === 'all') return true;
  if (filter === 'retrying') return job.state === 'running' && (job.attempt ?? 0) > 1;
  return job.state === filter;
}
