export default {
  title: 'Workers',
  lead: 'Workers encode the chunks of all videos.',
  states: { connected: 'connected', draining: 'draining', lost: 'lost' },
  columns: { name: 'Name', state: 'State', running: 'Running', heartbeat: 'Last heartbeat', version: 'Version' },
  running: (running: number, slots: number) => `${running} of ${slots} slots`,
  slotsOf: (name: string) => `Slots of ${name} in use`,
  noVersion: 'unknown',
  justNow: 'just now',
  explain: {
    draining: 'Finishes its tasks, takes no others and exits.',
    lost: 'Its connection ended. Other workers repeat its tasks.'
  },
  drain: 'Drain',
  drainName: (name: string) => `Drain ${name}`,
  drainTitle: (name: string) => `Drain ${name}?`,
  drainText: (running: number) =>
    `It finishes ${running === 0 ? 'its tasks' : running === 1 ? 'the task that it runs' : `the ${running} tasks that it runs`}, takes no others and exits. Nothing that is encoded is lost. To use it again, start it again.`,
  drainKeep: 'Keep it running',
  drained: (name: string) => `${name} is draining.`,
  none: {
    title: 'No worker is connected',
    text: 'Nothing is encoded until one connects.',
    here: 'On the machine of “make run”, in its folder',
    elsewhere: 'On another machine',
    token: '1. Create a token for it, as an admin',
    start: '2. Start the worker with it',
    then: 'This notice disappears by itself as soon as a worker is connected.'
  },
  empty: { title: 'No worker has connected yet', text: 'Start one with the command above. It appears here at once.' },
  foreign: {
    title: 'Workers belong to the operator',
    text: 'They are shared by all tenants and shown only to the operator’s tenant.'
  }
};
