/** Keyboard shortcuts. They work only while the focus is within the player, and the viewer can turn them off. */

/** The actions of the keys. */
export interface KeyActions {
  toggle(): void;
  skip(seconds: number): void;
  goTo(share: number): void;
  volume(change: number): void;
  mute(): void;
  fullscreen(): void;
  pictureInPicture(): void;
  text(): void;
  speed(change: number): void;
}

/** How far the arrows and `j`, `l` move, in seconds. */
const ARROW_SECONDS = 5;
const JUMP_SECONDS = 10;
const VOLUME_STEP = 0.05;
const SPEED_STEP = 0.25;

const BINDINGS: Record<string, (act: KeyActions) => void> = {
  ' ': (act) => act.toggle(),
  k: (act) => act.toggle(),
  ArrowLeft: (act) => act.skip(-ARROW_SECONDS),
  ArrowRight: (act) => act.skip(ARROW_SECONDS),
  j: (act) => act.skip(-JUMP_SECONDS),
  l: (act) => act.skip(JUMP_SECONDS),
  Home: (act) => act.goTo(0),
  End: (act) => act.goTo(1),
  ArrowUp: (act) => act.volume(VOLUME_STEP),
  ArrowDown: (act) => act.volume(-VOLUME_STEP),
  m: (act) => act.mute(),
  f: (act) => act.fullscreen(),
  p: (act) => act.pictureInPicture(),
  c: (act) => act.text(),
  '<': (act) => act.speed(-SPEED_STEP),
  '>': (act) => act.speed(SPEED_STEP)
};
for (let digit = 0; digit <= 9; digit++) BINDINGS[String(digit)] = (act) => act.goTo(digit / 10);

/** Keys that operate the focused control itself, by its element. */
const OWN: [selector: string, keys: RegExp][] = [
  ['button, a, [role="button"], media-play-button, media-mute-button, media-captions-button, media-pip-button, media-fullscreen-button, media-airplay-button, media-cast-button', /^( |Enter)$/],
  ['media-volume-range', /^(Arrow.*|Home|End|Page.*)$/]
];

/** Performs the shortcut of a key press; false if it has none, or belongs to the focused control. */
export function press(event: KeyboardEvent, act: KeyActions): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return false;
  const path = event.composedPath().filter((target): target is Element => target instanceof Element);
  if (path.some((element) => element.matches('[data-own-keys], select, textarea, [contenteditable]'))) return false;
  if (OWN.some(([selector, keys]) => keys.test(event.key) && path.some((element) => element.matches(selector)))) return false;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const binding = BINDINGS[key];
  if (!binding) return false;
  event.preventDefault();
  binding(act);
  return true;
}
