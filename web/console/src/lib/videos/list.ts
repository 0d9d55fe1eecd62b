/** Which videos a page of the list shows, kept true by events between two requests. */
import type { Video, VideoSort, VideoState } from '../api/types';

export interface Filter {
  q: string;
  state: VideoState | '';
  sort: VideoSort;
}

export const SORTS = ['-createdAt', 'createdAt', 'title', '-title'] as const satisfies readonly VideoSort[];
export const STATES = ['uploading', 'probing', 'uploaded', 'processing', 'ready', 'failed'] as const satisfies readonly VideoState[];

/** Reads a filter from the address; unknown values become the defaults, because a person may have typed them. */
export function filterOf(parameters: Pick<URLSearchParams, 'get'>): Filter {
  const state = parameters.get('state') as VideoState;
  const sort = parameters.get('sort') as VideoSort;
  return {
    q: parameters.get('q') ?? '',
    state: STATES.includes(state) ? state : '',
    sort: SORTS.includes(sort) ? sort : '-createdAt'
  };
}

/** The address's query of a filter; defaults are left out. */
export function queryOf(filter: Filter): string {
  const parameters = new URLSearchParams();
  if (filter.q) parameters.set('q', filter.q);
  if (filter.state) parameters.set('state', filter.state);
  if (filter.sort !== '-createdAt') parameters.set('sort', filter.sort);
  const text = parameters.toString();
  return text ? `?${text}` : '';
}

/** Whether the service would list the video: a substring of the title, case ignored, and the state. */
export function matches(video: Video, filter: Filter): boolean {
  const found = video.title.toLowerCase().includes(filter.q.toLowerCase());
  return found && (filter.state === '' || video.state === filter.state);
}

function compare(sort: VideoSort, a: Video, b: Video): number {
  const key = sort.endsWith('title') ? (video: Video) => video.title.toLowerCase() : (video: Video) => video.createdAt ?? '';
  const order = key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0;
  return sort.startsWith('-') ? -order : order;
}

/**
 * The rows of a page: `page` as it was loaded, its videos replaced by their newest state from `known`, without those that no
 * longer match or were deleted. On the first page, videos that events brought since are put where they belong.
 */
export function rowsOf(
  page: readonly Video[],
  known: ReadonlyMap<string, Video>,
  deleted: ReadonlySet<string>,
  filter: Filter,
  first: boolean,
  arrivedSince: ReadonlySet<string>
): Video[] {
  const current = page.map((video) => known.get(video.videoId) ?? video);
  const rows = current.filter((video) => !deleted.has(video.videoId) && matches(video, filter));
  if (!first) return rows;
  const ids = new Set(page.map((video) => video.videoId));
  const fresh = [...arrivedSince].flatMap((id) => (ids.has(id) ? [] : (known.get(id) ?? [])));
  for (const video of fresh) {
    if (deleted.has(video.videoId) || !matches(video, filter)) continue;
    const at = rows.findIndex((row) => compare(filter.sort, video, row) < 0);
    if (at < 0 && filter.sort !== '-createdAt' && page.length > 0) continue;
    rows.splice(at < 0 ? rows.length : at, 0, video);
  }
  return rows;
}
