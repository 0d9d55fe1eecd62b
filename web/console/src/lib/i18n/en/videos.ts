const count = (n: number, one: string, other: string) => (n === 1 ? one : other);

/** Messages of the Videos screen. */
const videos = {
  title: 'Videos',
  search: 'Search titles',
  state: 'State',
  anyState: 'All states',
  sort: 'Sort by',
  sorts: { '-createdAt': 'Newest first', createdAt: 'Oldest first', title: 'Title A–Z', '-title': 'Title Z–A' },
  select: (title: string) => `Select ${title}`,
  selectAll: 'Select all on this page',
  selected: (n: number) => `${n} selected`,
  clearSelection: 'Clear selection',
  deleteSelected: (n: number) => `Delete ${n} ${count(n, 'video', 'videos')}`,
  deleteTitle: (n: number, title: string) => (n === 1 ? `Delete “${title}”?` : `Delete ${n} videos?`),
  loses: (n: number) => [
    n === 1 ? 'the uploaded source and all its renditions' : 'the uploaded sources and all their renditions',
    'posters, thumbnails, text tracks and downloads',
    count(n, 'every link and embed of it, and its unfinished jobs', 'every link and embed of them, and their unfinished jobs')
  ].join('\n'),
  more: (n: number) => `and ${n} more`,
  deleting: (done: number, n: number) => `Deleting ${done} of ${n}`,
  deletedToast: (n: number) => `${n} ${count(n, 'video', 'videos')} deleted`,
  notDeleted: (n: number) => `${n} ${count(n, 'video was', 'videos were')} not deleted.`,
  columns: { select: 'Select', title: 'Title', state: 'State', length: 'Length', visibility: 'Visibility', created: 'Created' },
  untitled: 'Untitled',
  encoded: (percent: string) => `${percent} encoded`,
  playsAlready: 'plays already',
  emptyTitle: 'No videos yet',
  emptyText: 'Upload the first one: it plays seconds after its last byte.',
  emptyViewer: 'When an editor uploads a video, it appears here at once.',
  uploadFirst: 'Upload a video',
  noMatchTitle: 'No video matches',
  noMatchText: 'Change the search or the state, or show all videos.',
  showAll: 'Show all videos',
  newer: 'The list has changed.',
  results: (n: number) => `${n} ${count(n, 'video', 'videos')} on this page`
};

export default videos;
