/** Storyboards: WebVTT whose cues name a tile of a sheet (`sheet.jpg#xywh=x,y,width,height`). */

/** One tile and the time that it stands for, in seconds. */
export interface Tile {
  start: number;
  end: number;
  url: string;
  box: [x: number, y: number, width: number, height: number];
}

const STAMP = /^(?:(\d+):)?(\d{2}):(\d{2})[.,](\d{3})$/;

function seconds(stamp: string | undefined): number | null {
  const match = STAMP.exec(stamp ?? '');
  if (!match) return null;
  const [hours, minutes, whole, thousandths] = match.slice(1).map((part) => Number(part ?? 0));
  return hours! * 3600 + minutes! * 60 + whole! + thousandths! / 1000;
}

/** Reads a storyboard; sheets are relative to `base`. Cues without a tile are skipped. */
export function parseStoryboard(text: string, base: string): Tile[] {
  const tiles: Tile[] = [];
  let times: [number, number] | null = null;
  for (const line of text.split(/\r\n|\n|\r/)) {
    const arrow = line.indexOf('-->');
    if (arrow >= 0) {
      const start = seconds(line.slice(0, arrow).trim());
      const end = seconds(line.slice(arrow + 3).trim().split(/\s/)[0]);
      times = start !== null && end !== null && end > start ? [start, end] : null;
      continue;
    }
    const match = times && /^(\S+)#xywh=(\d+),(\d+),(\d+),(\d+)$/.exec(line.trim());
    if (match && times) {
      const box = match.slice(2).map(Number) as Tile['box'];
      tiles.push({ start: times[0], end: times[1], url: new URL(match[1]!, base).href, box });
      times = null;
    }
  }
  return tiles;
}

/** The tile for a time: the one that covers it, otherwise the last one before it. */
export function tileAt(tiles: readonly Tile[], time: number): Tile | null {
  let [low, high] = [0, tiles.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (tiles[middle]!.start <= time) low = middle;
    else high = middle - 1;
  }
  return tiles[low] ?? null;
}

/** Reads a storyboard; empty if it cannot be read. `fresh` puts the newest playback token into an address. */
export async function readStoryboard(url: string, fresh: (url: string) => string): Promise<Tile[]> {
  const reply = await fetch(fresh(url)).catch(() => null);
  return reply?.ok ? parseStoryboard(await reply.text(), new URL(url, document.baseURI).href) : [];
}
