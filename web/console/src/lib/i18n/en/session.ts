const session = {
  title: 'Sign in',
  intro: 'Open the link that the service printed when it started, or print a new one:',
  command: 'streaming-service console',
  token: 'Access token',
  tokenHint: 'The token stays in this tab and is exchanged for a session of at most 12 hours.',
  submit: 'Sign in',
  working: 'Signing in…',
  oidc: 'Continue with your identity provider',
  oidcAt: (host: string) => `at ${host}`,
  or: 'or',
  expired: 'Your session has ended. Sign in again to go on where you were.',
  signedOut: 'You are signed out.',
  used: 'This link was used before or is older than 10 minutes.',
  usedTodo: 'Print a new link with the command below, or paste a token.',
  kept: 'This link was used before or is older than 10 minutes. You are still signed in.',
  rejected: 'The service does not accept this token.',
  rejectedTodo: 'It may be expired, revoked or incomplete. Paste the whole token, for example from the file admin.token.',
  wrongRole: 'The console is for viewers, editors and admins.',
  wrongRoleTodo: 'Use a token with one of these roles.',
  providerFailed: 'The identity provider did not sign you in.',
  providerTodo: 'Try again, or paste a token.',
  finishing: 'Finishing sign-in…',
  as: (subject: string, role: string) => `${subject}, ${role}`,
  roles: { viewer: 'Viewer', editor: 'Editor', admin: 'Admin' } as Record<string, string>
};

export default session;
