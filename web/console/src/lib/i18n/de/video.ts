import type { Messages } from '../index.svelte';

const video: Messages['video'] = {
  title: 'Video',
  untitled: 'Video ohne Titel',
  playableAfter: (seconds) => `Abspielbar nach ${seconds} s`,
  playableAfterText: 'Vom letzten Byte des Uploads bis zum ersten Segment, das Player abrufen können.',
  player: {
    title: 'Player',
    loading: 'Der Player wird geladen',
    uploading: 'Der Upload ist nicht vollständig. Das Video ist Sekunden nach seinem Ende abspielbar.',
    probing: 'Die Quelle wird geprüft. Das Video ist in wenigen Sekunden abspielbar.',
    uploaded: 'Das Video ist noch nicht kodiert.',
    processing: 'Die ersten Sekunden werden kodiert. Der Player erscheint hier von selbst.',
    failed: 'Von diesem Video ist nichts abspielbar.',
    failedLoad: 'Der Player ließ sich nicht laden. Prüfen Sie die Verbindung und laden Sie die Seite neu.'
  },
  failed: 'Die Kodierung ist fehlgeschlagen',
  rejected: 'Die Quelle wurde abgelehnt',
  partly: 'Der kodierte Teil bleibt abspielbar.',
  encoding: {
    title: 'Kodierung',
    none: 'Dieses Video wurde noch nicht kodiert.',
    openJob: 'Auftrag öffnen',
    allJobs: 'Alle Aufträge dieses Videos'
  },
  details: {
    title: 'Angaben',
    name: 'Titel',
    description: 'Beschreibung',
    visibility: 'Sichtbarkeit',
    public: 'Öffentlich',
    publicText: 'spielt für alle, die den Link haben',
    private: 'Privat',
    privateText: 'spielt nur mit einem Wiedergabetoken',
    save: 'Speichern',
    saved: 'Gespeichert.',
    unsaved: 'Noch nicht gespeichert',
    revert: 'Änderungen verwerfen',
    conflict: 'Dieses Video wurde inzwischen an anderer Stelle geändert.',
    conflictText:
      'Ihr Text ist hier erhalten. Speichern Sie ihn über die andere Änderung, oder verwerfen Sie ihn und sehen Sie die aktuellen Werte.',
    overwrite: 'Meine speichern',
    discard: 'Meine verwerfen'
  },
  source: {
    title: 'Quelle',
    length: 'Länge',
    size: 'Größe',
    rate: 'Bildrate',
    bitrate: 'Bitrate',
    codec: 'Codec',
    format: 'Format',
    fps: (fps) => `${fps} pro Sekunde`,
    uploaded: 'Hochgeladen'
  },
  share: {
    title: 'Teilen',
    link: 'Link',
    embed: 'Einbettungscode',
    copy: 'Kopieren',
    copyLink: 'Link kopieren',
    copyEmbed: 'Einbettungscode kopieren',
    open: 'Seite öffnen',
    privateText: 'Dieses Video ist privat: Links funktionieren nur mit einem Wiedergabetoken.'
  },
  access: {
    title: 'Wiedergabetokens',
    text: 'Ein Wiedergabetoken öffnet nur dieses Video, für begrenzte Zeit.',
    life: 'Gültig für',
    lives: { hour: '1 Stunde', day: '1 Tag', week: '7 Tage' },
    height: 'Höchste Qualität',
    anyHeight: 'unbegrenzt',
    mint: 'Link erstellen',
    once: 'Kopieren Sie jetzt, was Sie brauchen: Das Token wird nur dieses eine Mal gezeigt.',
    token: 'Token',
    copyToken: 'Token kopieren',
    expires: 'Läuft ab'
  },
  tracks: {
    title: 'Textspuren',
    none: 'Keine Untertitel. Gehörlose und Schwerhörige brauchen sie: Fügen Sie eine WebVTT- oder SRT-Datei hinzu.',
    noneViewer: 'Keine Untertitel.',
    kinds: { subtitles: 'Untertitel', captions: 'Untertitel für Hörgeschädigte' },
    fromSource: 'aus der Quelle',
    isDefault: 'Standard',
    forced: 'erzwungen',
    add: 'Textspur hinzufügen',
    file: 'Datei',
    fileHint: 'WebVTT oder SubRip (.srt), bis 2 MiB.',
    language: 'Sprache',
    languageHint: 'Ein Sprachkürzel wie en, de oder pt-BR.',
    label: 'Bezeichnung',
    labelHint: 'Steht im Menü des Players. Leer: der Name der Sprache.',
    kind: 'Art',
    kindText: { subtitles: 'übersetzen das Gesprochene', captions: 'beschreiben auch Geräusche' },
    byDefault: 'Standardmäßig anzeigen',
    submit: 'Hinzufügen',
    added: 'Die Textspur ist hinzugefügt.',
    remove: 'Entfernen',
    removeName: (label) => `${label} entfernen`,
    removeTitle: (label) => `Textspur ${label} entfernen?`,
    removeText: 'Ihre Datei wird im Dienst gelöscht. Um sie wiederherzustellen, fügen Sie die Datei erneut hinzu.',
    removeKeep: 'Behalten',
    removed: 'Die Textspur ist entfernt.'
  },
  downloads: {
    title: 'Downloads',
    none: 'Sobald die Kodierung vollständig ist, stehen hier die Qualitätsstufen zum Herunterladen.',
    get: (profile) => `${profile} herunterladen`
  },
  images: {
    title: 'Vorschaubilder',
    at: (time) => `Bei ${time}`
  },
  transcode: {
    title: 'Erneut kodieren',
    text: 'Die jetzige Fassung bleibt abspielbar, bis die neue vollständig ist.',
    open: 'Erneut kodieren',
    first: 'Kodieren',
    profiles: 'Profile',
    all: 'Alle, die zur Quelle passen',
    chosen: 'Nur diese',
    tooLarge: 'größer als die Quelle',
    pictures: 'Vorschaubilder und Storyboard',
    preview: 'Vorschauclip',
    start: 'Kodierung starten',
    started: 'Ein neuer Auftrag ist in der Warteschlange.',
    choose: 'Wählen Sie mindestens ein Profil.'
  },
  remove: {
    title: 'Löschen',
    text: 'Entfernt das Video sofort von allen Seiten und aus allen Playern.',
    open: 'Video löschen',
    ask: (title) => `„${title}“ löschen?`,
    lost: 'Das lässt sich nicht rückgängig machen. Gelöscht werden:',
    source: 'die hochgeladene Quelle',
    encoded: 'alles Kodierte und dessen Downloads',
    tracks: (count) => (count === 1 ? 'eine Textspur' : `${count} Textspuren`),
    links: 'alle Links, Einbettungen und Wiedergabetokens: Sie funktionieren nicht mehr',
    job: 'der laufende Auftrag, der abgebrochen wird',
    keep: 'Behalten',
    confirm: 'Video löschen',
    done: 'Das Video ist gelöscht.'
  },
  gone: 'Dieses Video gibt es nicht, es wurde gelöscht, oder es gehört einem anderen Mandanten.',
  deletedNow: 'Dieses Video wurde gerade gelöscht.',
  backToVideos: 'Alle Videos'
};

export default video;
