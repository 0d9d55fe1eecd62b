/** The viewer's choices, remembered in this browser. Storage may be full, blocked or absent: then nothing is kept. */

const PREFIX = 'stream-player:';
/** How many videos keep a position; the oldest is dropped. */
const POSITIONS_MAX = 100;

function read<T>(name: string, fallback: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    return text === null ? fallback : (JSON.parse(text) as T);
  } catch {
    return fallback;
  }
}

function write(name: string, value: unknown): void {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** How text tracks look. */
export interface TextStyle {
  size: 'small' | 'medium' | 'large' | 'huge';
  colour: 'white' | 'yellow' | 'cyan' | 'green';
  background: 'solid' | 'half' | 'none';
}

const STYLE: TextStyle = { size: 'medium', colour: 'white', background: 'half' };

/** The chosen values. */
export const preferences = {
  /** The language of the text track; '' for off; null when the viewer has never chosen. */
  get text(): string | null {
    const value = read<unknown>('text', null);
    return typeof value === 'string' ? value : null;
  },
  set text(language: string | null) {
    write('text', language);
  },
  get textStyle(): TextStyle {
    return { ...STYLE, ...read<Partial<TextStyle>>('text-style', {}) };
  },
  set textStyle(style: TextStyle) {
    write('text-style', style);
  },
  /** Whether keyboard shortcuts work. */
  get shortcuts(): boolean {
    return read<unknown>('shortcuts', true) !== false;
  },
  set shortcuts(on: boolean) {
    write('shortcuts', on);
  },
  get speed(): number {
    const value = read<unknown>('speed', 1);
    return typeof value === 'number' && value >= 0.25 && value <= 4 ? value : 1;
  },
  set speed(rate: number) {
    write('speed', rate);
  }
};

function positions(): [string, number][] {
  const list = read<unknown>('positions', []);
  const valid = (entry: unknown): entry is [string, number] =>
    Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number';
  return Array.isArray(list) ? list.filter(valid) : [];
}

/** The position, in seconds, at which the viewer left a video. */
export function storedPosition(video: string): number | null {
  return positions().find(([id]) => id === video)?.[1] ?? null;
}

/** Stores the position of a video; null removes it. */
export function storePosition(video: string, seconds: number | null): void {
  const rest = positions().filter(([id]) => id !== video);
  const own: [string, number][] = seconds === null ? [] : [[video, Math.floor(seconds)]];
  write('positions', [...own, ...rest].slice(0, POSITIONS_MAX));
}
