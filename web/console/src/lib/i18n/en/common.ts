/** Words that several screens use. */
const common = {
  product: 'Streaming console',
  brand: 'Streaming',
  skip: 'Skip to content',
  wrongAddress: 'No screen has this address.',
  menu: 'Menu',
  navigation: 'Main navigation',
  cancel: 'Cancel',
  close: 'Close',
  retry: 'Try again',
  reload: 'Reload',
  copy: 'Copy',
  copied: 'Copied',
  save: 'Save',
  delete: 'Delete',
  edit: 'Edit',
  next: 'Next page',
  previous: 'Previous page',
  page: (number: string) => `Page ${number}`,
  loading: 'Loading',
  loses: 'This cannot be undone. You lose:',
  none: '–',
  unknown: 'unknown',
  language: 'Language',
  theme: 'Theme',
  themes: { auto: 'System', light: 'Light', dark: 'Dark' },
  signOut: 'Sign out',
  live: {
    connecting: 'Connecting',
    open: 'Live',
    waiting: 'Reconnecting',
    off: 'Offline'
  },
  limited: (time: string) => `Too many requests. The console goes on at ${time}.`,
  limitedIn: (seconds: string) => `in ${seconds} s`,
  ending: (time: string) => `Your session ends at ${time}. Sign in again to keep working.`,
  signInAgain: 'Sign in again',
  player: {
    play: 'Play',
    failed: 'The player could not be loaded.'
  },
  states: {
    uploading: 'Uploading',
    probing: 'Examining',
    uploaded: 'Uploaded',
    processing: 'Encoding',
    ready: 'Ready',
    failed: 'Failed',
    queued: 'Queued',
    running: 'Running',
    retrying: 'Retrying',
    completed: 'Completed',
    cancelled: 'Cancelled',
    done: 'Done',
    connected: 'Connected',
    draining: 'Draining',
    lost: 'Lost',
    ok: 'OK',
    down: 'Down',
    unavailable: 'Unavailable'
  },
  visibility: { public: 'Public', private: 'Private' },
  errors: {
    request: (id: string) => `Request ${id}`,
    goOn: (time: string) => `You can go on at ${time}.`,
    offline: ['The service does not answer.', 'Check your connection and that the service runs. The console tries again when you do.'],
    unreadable: ['The reply could not be read.', 'A proxy may have answered in place of the service. Try again in a moment.'],
    unreadable_file: ['The browser cannot read the file.', 'It may be a folder, or it was moved. Choose the file again.'],
    rate_limited: ['Too many requests.', 'The service limits how many requests it answers.'],
    quota_exceeded: ['A quota is used up.', 'Finish or cancel open uploads, or ask the operator for a higher quota.'],
    unauthenticated: ['You are not signed in.', 'The token is expired, revoked or unknown. Sign in again.'],
    permission_denied: ['Your token does not allow this.', 'Ask an admin for a token with another role.'],
    not_found: ['It does not exist.', 'It may have been deleted, or it belongs to another tenant.'],
    conflict: ['The present state does not allow this.', 'Reload to see the present state, then try again.'],
    not_ready: ['It is not ready yet.', 'Wait until it has been encoded.'],
    invalid_field: ['A value is invalid.', 'Change the value and try again.'],
    not_a_video: ['The file is not a video that is supported.', 'Check the file, or convert it to a supported format.'],
    truncated_source: ['The file ends too early.', 'Export or copy the file again, then upload it.'],
    too_large: ['The file is too large.', 'Choose a smaller file, or ask the operator for a higher limit.'],
    unavailable: ['The service is unavailable at the moment.', 'A part of it restarts or is overloaded. Try again in a moment.'],
    timeout: ['The service took too long.', 'Try again in a moment.'],
    internal: ['The service failed.', 'Try again. If it fails again, give the operator the request id.'],
    other: ['The service refused the request.', 'Try again, or give the operator the request id.']
  } as ErrorTexts
};

/** Per code: what happened, and what to do. */
type Pair = [what: string, todo: string];
interface ErrorTexts {
  request: (id: string) => string;
  goOn: (time: string) => string;
  offline: Pair;
  unreadable: Pair;
  unreadable_file: Pair;
  rate_limited: Pair;
  quota_exceeded: Pair;
  unauthenticated: Pair;
  permission_denied: Pair;
  not_found: Pair;
  conflict: Pair;
  not_ready: Pair;
  invalid_field: Pair;
  not_a_video: Pair;
  truncated_source: Pair;
  too_large: Pair;
  unavailable: Pair;
  timeout: Pair;
  internal: Pair;
  other: Pair;
}

export default common;
