import type { Messages } from '../index.svelte';

const system: Messages['system'] = {
  title: 'System',
  lead: 'Zustand und Auslastung des Dienstes.',
  health: 'Abhängigkeiten',
  dependencies: { control: 'Control Plane', postgres: 'Postgres', redis: 'Redis', workers: 'Worker', store: 'Speicher' },
  numbered: (name, number) => `${name} ${number}`,
  states: { ok: 'OK', down: 'nicht erreichbar', degraded: 'eingeschränkt', unknown: 'unbekannt' },
  allWell: 'Alle Abhängigkeiten sind verfügbar.',
  trouble: (count) => (count === 1 ? 'Eine Abhängigkeit ist nicht verfügbar.' : `${count} Abhängigkeiten sind nicht verfügbar.`),
  queue: { title: 'Wartende Aufgaben', text: 'Aufgaben, die bereit sind und auf einen freien Platz warten.' },
  playable: {
    title: 'Zeit bis abspielbar',
    text: 'Vom letzten Byte eines Uploads bis zum ersten Segment, das Player abrufen können.',
    p50: 'Median',
    p95: '95. Perzentil'
  },
  egress: { title: 'Ausgang', text: 'Bytes pro Sekunde an Player.' },
  cache: { title: 'Cache-Treffer', text: 'Anteil der Anfragen nach Segmenten in Buckets, die aus dem Speicher beantwortet wurden.' },
  noData: 'noch keine Daten',
  notShared: 'nur für den Betreiber sichtbar',
  samples: (minutes) =>
    minutes < 1 ? 'Seit dem Öffnen dieser Seite' : minutes === 1 ? 'Die letzte Minute' : `Die letzten ${minutes} Minuten`,
  pace: (seconds) => `Alle ${seconds} s ein neuer Wert, solange diese Seite sichtbar ist.`,
  chart: (name, last) => `Diagramm: ${name}; letzter Wert ${last}`,
  limits: {
    title: 'Ihre Anfragelimits',
    text: 'Anfragen, die diese Anmeldung noch senden darf. Sie kommen gleichmäßig zurück.',
    general: 'API-Anfragen',
    upload: 'Neue Uploads',
    stream: 'Wiedergabeanfragen',
    off: 'nicht begrenzt',
    left: (remaining, limit) => `${remaining} von ${limit} übrig`,
    full: (time) => `wieder voll in ${time}`
  },
  paused: (time) => `Messung pausiert bis ${time}, damit Anfragen für Ihre Arbeit bleiben.`,
  updated: 'Aktualisiert'
};

export default system;
