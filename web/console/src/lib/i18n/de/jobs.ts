import type { Messages } from '../index.svelte';

const jobs: Messages['jobs'] = {
  title: 'Aufträge',
  job: 'Auftrag',
  all: 'Alle Aufträge',
  about: 'Über diesen Auftrag',
  taskStates: {
    queued: 'wartet',
    running: 'läuft',
    done: 'fertig',
    failed: 'fehlgeschlagen',
    cancelled: 'abgebrochen'
  },
  kinds: {
    probe: 'Quelle prüfen',
    chunk: 'Video',
    audio: 'Ton',
    surround: 'Mehrkanalton',
    subtitles: 'Textspur',
    thumbnails: 'Vorschaubilder',
    preview: 'Vorschauclip',
    collect: 'Endgültiger Index'
  },
  kindNumber: (kind, number) => `${kind} ${number}`,
  filter: {
    label: 'Zustand',
    all: 'Alle',
    ofVideo: (title) => `Aufträge von „${title}“`,
    everyVideo: 'Aufträge aller Videos zeigen'
  },
  columns: { video: 'Video', state: 'Zustand', progress: 'Fortschritt', remaining: 'Restzeit', created: 'Begonnen' },
  empty: {
    title: 'Noch keine Aufträge',
    text: 'Ein Auftrag kodiert ein Video. Laden Sie ein Video hoch: Der Auftrag beginnt, wenn der Upload endet.',
    action: 'Video hochladen',
    viewer: 'Ein Auftrag kodiert ein Video. Aufträge erscheinen hier, sobald jemand mit der Rolle Editor eines hochlädt.'
  },
  emptyFilter: {
    title: 'Kein Auftrag hat diesen Zustand',
    text: 'Wählen Sie einen anderen Zustand, um die übrigen Aufträge zu sehen.',
    action: 'Alle Aufträge zeigen'
  },
  noVideo: 'Video',
  more: 'Mehr zeigen',
  place: (place) => (place === 1 ? 'Als Nächstes an der Reihe' : `Platz ${place} in der Warteschlange`),
  waiting: 'Wartet auf einen Worker',
  eta: (time) => `noch etwa ${time}`,
  speed: (speed) => `${speed} Abspielgeschwindigkeit`,
  progress: (percent) => `${percent} %`,
  progressOf: (title) => `Fortschritt von ${title}`,
  announce: (percent, state) => `${state}, ${percent} % kodiert`,
  retry: 'Wiederholen',
  retryHint: 'Wiederholt nur, was noch nicht kodiert ist.',
  retried: 'Der Auftrag ist wieder in der Warteschlange.',
  cancel: 'Auftrag abbrechen',
  cancelTitle: 'Diesen Auftrag abbrechen?',
  cancelText:
    'Er endet innerhalb von Sekunden. Das Video, seine Quelle und eine frühere Fassung bleiben. Verloren geht:',
  cancelLoses: (percent) => `was dieser Auftrag kodiert hat (${percent} %), wenn er nicht bald wiederholt wird`,
  cancelKeep: 'Weiter kodieren',
  cancelled: 'Der Auftrag ist abgebrochen.',
  openVideo: 'Video öffnen',
  created: 'Angelegt',
  started: 'Begonnen',
  finished: 'Beendet',
  took: 'Dauer',
  preset: 'Preset',
  renditions: 'Qualitätsstufen',
  formats: 'Formate',
  notes: 'Hinweise',
  problem: 'Der Auftrag ist fehlgeschlagen',
  attempts: 'Versuche',
  attemptsNone: 'Kein Versuch ist fehlgeschlagen.',
  attemptsText: 'Aufgaben mit mehr als einem Versuch und ihr letzter Fehler.',
  attempt: (attempt) => `Versuch ${attempt}`,
  others: 'Ton und andere Aufgaben',
  grid: {
    title: 'Abschnitte',
    label: 'Qualitätsstufen und Abschnitte',
    rendition: 'Stufe',
    cell: (rendition, chunk, state, percent) =>
      `${rendition}, Abschnitt ${chunk}, ${state}${percent === null ? '' : ` ${percent} %`}`,
    keys: 'Pfeiltasten wechseln den Abschnitt, Bild auf und Bild ab blättern.',
    again: 'mehr als ein Versuch',
    overview: 'Übersicht über das ganze Video'
  },
  details: {
    worker: 'Worker',
    attempt: 'Versuch',
    progress: 'Fortschritt',
    speed: 'Tempo',
    error: 'Letzter Fehler',
    task: 'Aufgabe'
  },
  gone: 'Diesen Auftrag gibt es nicht, er wurde mit seinem Video gelöscht, oder er gehört einem anderen Mandanten.'
};

export default jobs;
