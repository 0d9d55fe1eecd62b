import type { Messages } from '../index.svelte';

const tokens: Messages['tokens'] = {
  title: 'Tokens',
  lead: 'Mit einem Token nutzt ein Programm oder eine Person die API, mit einer Rolle und für begrenzte Zeit.',
  roles: {
    viewer: { name: 'Viewer', text: 'liest und spielt Videos ab' },
    editor: { name: 'Editor', text: 'lädt auch hoch, ändert und löscht eigene Videos' },
    admin: { name: 'Admin', text: 'darf in diesem Mandanten alles' },
    worker: { name: 'Worker', text: 'führt Aufgaben aus; nur für streaming-worker' },
    dataplane: { name: 'Data Plane', text: 'liest Indizes und Schlüssel; nur für streaming-dataplane' }
  },
  columns: { subject: 'Inhaber', role: 'Rolle', created: 'Erstellt', expires: 'Läuft ab', used: 'Zuletzt benutzt' },
  mint: 'Token erstellen',
  mintTitle: 'Token erstellen',
  subject: 'Inhaber',
  subjectHint: 'Wer oder was es benutzt, zum Beispiel ana oder upload-skript. Videos gehören dem Inhaber, der sie hochlädt.',
  role: 'Rolle',
  life: 'Gültig für',
  lives: {
    hour: '1 Stunde',
    day: '1 Tag',
    week: '7 Tage',
    month: '30 Tage',
    quarter: '90 Tage',
    year: '1 Jahr'
  },
  create: 'Erstellen',
  created: {
    title: 'Kopieren Sie das Token jetzt',
    text: 'Es wird nur dieses eine Mal gezeigt; der Dienst bewahrt es nicht auf. Legen Sie es dort ab, wo sein Inhaber es lesen kann, zum Beispiel in einem Passwortmanager.',
    label: (subject) => `Token von ${subject}`,
    copy: 'Token kopieren',
    done: 'Fertig'
  },
  more: 'Mehr zeigen',
  never: 'nie',
  today: 'heute',
  expired: 'abgelaufen',
  revoke: 'Widerrufen',
  revokeName: (subject) => `Token von ${subject} widerrufen`,
  revokeTitle: (subject) => `Token von ${subject} widerrufen?`,
  revokeText:
    'Jede Anfrage mit ihm wird innerhalb einer Sekunde abgelehnt. Das lässt sich nicht rückgängig machen: Sein Inhaber braucht ein neues Token. Damit hochgeladene Videos bleiben.',
  revokeKeep: 'Behalten',
  revoked: 'Das Token ist widerrufen.',
  empty: {
    title: 'Noch keine Tokens',
    text: 'Erstellen Sie eines für jede Person und jedes Programm, das die API benutzt, mit der kleinsten Rolle, die genügt.'
  }
};

export default tokens;
