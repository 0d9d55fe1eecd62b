import type { Messages } from '../index.svelte';

const session: Messages['session'] = {
  title: 'Anmelden',
  intro: 'Öffnen Sie den Link, den der Dienst beim Start ausgegeben hat, oder erzeugen Sie einen neuen:',
  command: 'streaming-service console',
  token: 'Zugangstoken',
  tokenHint: 'Das Token bleibt in diesem Tab und wird gegen eine Sitzung von höchstens 12 Stunden getauscht.',
  submit: 'Anmelden',
  working: 'Anmeldung läuft …',
  oidc: 'Weiter mit Ihrem Identitätsanbieter',
  oidcAt: (host) => `bei ${host}`,
  or: 'oder',
  expired: 'Ihre Sitzung ist zu Ende. Melden Sie sich an, um an derselben Stelle weiterzumachen.',
  signedOut: 'Sie sind abgemeldet.',
  used: 'Dieser Link wurde schon benutzt oder ist älter als 10 Minuten.',
  usedTodo: 'Erzeugen Sie mit dem Befehl unten einen neuen Link, oder fügen Sie ein Token ein.',
  kept: 'Dieser Link wurde schon benutzt oder ist älter als 10 Minuten. Sie sind weiterhin angemeldet.',
  rejected: 'Der Dienst nimmt dieses Token nicht an.',
  rejectedTodo: 'Es ist abgelaufen, widerrufen oder unvollständig. Fügen Sie das ganze Token ein, etwa aus der Datei admin.token.',
  wrongRole: 'Die Konsole ist für Viewer, Editoren und Admins.',
  wrongRoleTodo: 'Benutzen Sie ein Token mit einer dieser Rollen.',
  providerFailed: 'Der Identitätsanbieter hat Sie nicht angemeldet.',
  providerTodo: 'Versuchen Sie es erneut, oder fügen Sie ein Token ein.',
  finishing: 'Anmeldung wird abgeschlossen …',
  as: (subject, role) => `${subject}, ${role}`,
  roles: { viewer: 'Viewer', editor: 'Editor', admin: 'Admin' }
};

export default session;
