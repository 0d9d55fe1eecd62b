import type { Messages } from '../index.svelte';

const workers: Messages['workers'] = {
  title: 'Worker',
  lead: 'Worker kodieren die Abschnitte aller Videos.',
  states: { connected: 'verbunden', draining: 'läuft aus', lost: 'verloren' },
  columns: { name: 'Name', state: 'Zustand', running: 'Läuft', heartbeat: 'Letzte Meldung', version: 'Version' },
  running: (running, slots) => `${running} von ${slots} Plätzen`,
  slotsOf: (name) => `Belegte Plätze von ${name}`,
  noVersion: 'unbekannt',
  justNow: 'gerade eben',
  explain: {
    draining: 'Beendet seine Aufgaben, nimmt keine neuen an und beendet sich.',
    lost: 'Seine Verbindung ist abgebrochen. Andere Worker wiederholen seine Aufgaben.'
  },
  drain: 'Auslaufen lassen',
  drainName: (name) => `${name} auslaufen lassen`,
  drainTitle: (name) => `${name} auslaufen lassen?`,
  drainText: (running) =>
    `Er beendet ${running === 0 ? 'seine Aufgaben' : running === 1 ? 'seine laufende Aufgabe' : `seine ${running} laufenden Aufgaben`}, nimmt keine neuen an und beendet sich. Kodiertes geht nicht verloren. Um ihn wieder zu nutzen, starten Sie ihn neu.`,
  drainKeep: 'Weiterlaufen lassen',
  drained: (name) => `${name} läuft aus.`,
  none: {
    title: 'Kein Worker ist verbunden',
    text: 'Bis sich einer verbindet, wird nichts kodiert.',
    here: 'Auf dem Rechner von „make run“, in dessen Ordner',
    elsewhere: 'Auf einem anderen Rechner',
    token: '1. Als Admin ein Token für ihn erstellen',
    start: '2. Den Worker damit starten',
    then: 'Dieser Hinweis verschwindet von selbst, sobald ein Worker verbunden ist.'
  },
  empty: {
    title: 'Noch kein Worker war verbunden',
    text: 'Starten Sie einen mit dem Befehl oben. Er erscheint hier sofort.'
  },
  foreign: {
    title: 'Worker gehören dem Betreiber',
    text: 'Alle Mandanten teilen sie; zu sehen sind sie nur für den Mandanten des Betreibers.'
  }
};

export default workers;
