import type { Messages } from '../index.svelte';

const videos: Messages['videos'] = {
  title: 'Videos',
  search: 'Titel durchsuchen',
  state: 'Zustand',
  anyState: 'Alle Zustände',
  sort: 'Sortieren',
  sorts: { '-createdAt': 'Neueste zuerst', createdAt: 'Älteste zuerst', title: 'Titel A–Z', '-title': 'Titel Z–A' },
  select: (title) => `${title} auswählen`,
  selectAll: 'Alle auf dieser Seite auswählen',
  selected: (n) => `${n} ausgewählt`,
  clearSelection: 'Auswahl aufheben',
  deleteSelected: (n) => (n === 1 ? '1 Video löschen' : `${n} Videos löschen`),
  deleteTitle: (n, title) => (n === 1 ? `„${title}“ löschen?` : `${n} Videos löschen?`),
  loses: (n) => [
    n === 1 ? 'die hochgeladene Quelle und alle kodierten Fassungen' : 'die hochgeladenen Quellen und alle kodierten Fassungen',
    'Posterbilder, Vorschaubilder, Textspuren und Downloads',
    'alle Links und Einbettungen sowie nicht beendete Aufträge'
  ].join('\n'),
  more: (n) => `und ${n} weitere`,
  deleting: (done, n) => `${done} von ${n} werden gelöscht`,
  deletedToast: (n) => (n === 1 ? '1 Video gelöscht' : `${n} Videos gelöscht`),
  notDeleted: (n) => (n === 1 ? '1 Video wurde nicht gelöscht.' : `${n} Videos wurden nicht gelöscht.`),
  columns: { select: 'Auswahl', title: 'Titel', state: 'Zustand', length: 'Länge', visibility: 'Sichtbarkeit', created: 'Erstellt' },
  untitled: 'Ohne Titel',
  encoded: (percent) => `${percent} kodiert`,
  playsAlready: 'spielt schon',
  emptyTitle: 'Noch keine Videos',
  emptyText: 'Laden Sie das erste hoch: Es spielt Sekunden nach dem letzten Byte.',
  emptyViewer: 'Sobald ein Editor ein Video hochlädt, erscheint es hier.',
  uploadFirst: 'Video hochladen',
  noMatchTitle: 'Kein Video passt',
  noMatchText: 'Ändern Sie Suche oder Zustand, oder zeigen Sie alle Videos.',
  showAll: 'Alle Videos zeigen',
  newer: 'Die Liste hat sich geändert.',
  results: (n) => (n === 1 ? '1 Video auf dieser Seite' : `${n} Videos auf dieser Seite`)
};

export default videos;
