export default {
  title: 'System',
  lead: 'Health and load of the service.',
  health: 'Dependencies',
  dependencies: {
    control: 'Control plane',
    postgres: 'Postgres',
    redis: 'Redis',
    workers: 'Workers',
    store: 'Store'
  } as Record<string, string>,
  numbered: (name: string, number: string) => `${name} ${number}`,
  states: { ok: 'OK', down: 'down', degraded: 'degraded', unknown: 'unknown' } as Record<string, string>,
  allWell: 'All dependencies are available.',
  trouble: (count: number) => (count === 1 ? 'One dependency is not available.' : `${count} dependencies are not available.`),
  queue: { title: 'Waiting tasks', text: 'Tasks that are ready and wait for a free slot.' },
  playable: {
    title: 'Time to playable',
    text: 'From the last byte of an upload to the first segment that players can fetch.',
    p50: 'median',
    p95: '95th percentile'
  },
  egress: { title: 'Egress', text: 'Bytes per second sent to players.' },
  cache: { title: 'Cache hits', text: 'Share of requests for segments in buckets that were answered from memory.' },
  noData: 'no data yet',
  notShared: 'shown only to the operator',
  samples: (minutes: number) =>
    minutes < 1 ? 'Since this screen was opened' : minutes === 1 ? 'The last minute' : `The last ${minutes} minutes`,
  pace: (seconds: number) => `A new sample every ${seconds} s while this screen is visible.`,
  chart: (name: string, last: string) => `Chart of ${name}; latest value ${last}`,
  limits: {
    title: 'Your rate limits',
    text: 'Requests that this sign-in may still send. They come back evenly over time.',
    general: 'API requests',
    upload: 'New uploads',
    stream: 'Playback requests',
    off: 'not limited',
    left: (remaining: number, limit: number) => `${remaining} of ${limit} left`,
    full: (time: string) => `full again in ${time}`
  },
  paused: (time: string) => `Sampling is paused until ${time}, so that requests are left for your work.`,
  updated: 'Updated'
};
