import { describe, expect, it } from 'vitest';
import { parseStoryboard, tileAt } from '../src/storyboard';

describe('storyboards', () => {
  const text = [
    'WEBVTT', '', '1', '00:00.000 --> 00:02.000', 'v/storyboard/0.jpg?token=a#xywh=0,0,160,90', '',
    '00:00:02.000 --> 01:00:04.000 line:0', 'v/storyboard/0.jpg#xywh=160,0,160,90', '',
    'broken --> 00:03.000', 'x.jpg#xywh=0,0,1,1', '', '00:08.000 --> 00:09.000', 'no tile'
  ].join('\r\n');
  const tiles = parseStoryboard(text, 'http://host/api/stream/id/storyboard.vtt');

  it('name a tile of a sheet for each time, with the token of the sheet', () => {
    expect(tiles).toEqual([
      { start: 0, end: 2, url: 'http://host/api/stream/id/v/storyboard/0.jpg?token=a', box: [0, 0, 160, 90] },
      { start: 2, end: 3604, url: 'http://host/api/stream/id/v/storyboard/0.jpg', box: [160, 0, 160, 90] }
    ]);
  });

  it('give the last tile behind their end, and none if they are empty', () => {
    expect([0, 1.999, 2, 9999].map((time) => tileAt(tiles, time)?.box[0])).toEqual([0, 0, 160, 160]);
    expect(tileAt([], 1)).toBeNull();
  });
});
