export default {
  title: 'Tokens',
  lead: 'A token lets a program or a person use the API with one role, for a limited time.',
  roles: {
    viewer: { name: 'Viewer', text: 'reads and plays videos' },
    editor: { name: 'Editor', text: 'also uploads, and changes and deletes its own videos' },
    admin: { name: 'Admin', text: 'may do everything in this tenant' },
    worker: { name: 'Worker', text: 'runs tasks; for streaming-worker only' },
    dataplane: { name: 'Data plane', text: 'reads indexes and keys; for streaming-dataplane only' }
  } as Record<string, { name: string; text: string }>,
  columns: { subject: 'Subject', role: 'Role', created: 'Created', expires: 'Expires', used: 'Last used' },
  mint: 'Create a token',
  mintTitle: 'Create a token',
  subject: 'Subject',
  subjectHint: 'Who or what uses it, for example ana or upload-script. Videos belong to the subject that uploads them.',
  role: 'Role',
  life: 'Valid for',
  lives: {
    hour: '1 hour',
    day: '1 day',
    week: '7 days',
    month: '30 days',
    quarter: '90 days',
    year: '1 year'
  },
  create: 'Create',
  created: {
    title: 'Copy the token now',
    text: 'It is shown only this once; the service does not keep it. Store it where its user can read it, for example in a password manager.',
    label: (subject: string) => `Token of ${subject}`,
    copy: 'Copy token',
    done: 'Done'
  },
  more: 'Show more',
  never: 'never',
  today: 'today',
  expired: 'expired',
  revoke: 'Revoke',
  revokeName: (subject: string) => `Revoke the token of ${subject}`,
  revokeTitle: (subject: string) => `Revoke the token of ${subject}?`,
  revokeText:
    'Every request with it is refused within a second. This cannot be undone: its user needs a new token. Videos that were uploaded with it stay.',
  revokeKeep: 'Keep it',
  revoked: 'The token is revoked.',
  empty: {
    title: 'No tokens yet',
    text: 'Create one for each person or program that uses the API, with the smallest role that suffices.'
  }
};
