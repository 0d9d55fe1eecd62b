import { beforeAll, describe, expect, it, vi } from 'vitest';
import { cueRule, fileOf, initialText, type TextChoice } from '../src/text';

beforeAll(() => vi.stubGlobal('document', { baseURI: 'http://host/watch/id' }));

describe('text tracks', () => {
  const track = (id: string, language: string, forced = false): TextChoice => ({ id, language, label: id, captions: false, forced });
  const tracks = [track('a', 'de', true), track('b', 'pt-BR'), track('c', 'de')];

  it('have their file next to the renditions, with the token of the playlist', () => {
    const id = '01a21caf-ee12-74fd-b67e-dfce0be1014e';
    expect(fileOf(`http://host/api/stream/v/job/text-${id}/event.m3u8?token=t%2B`))
      .toEqual({ id, url: `http://host/api/stream/v/captions/${id}.vtt?token=t%2B` });
    expect(fileOf('http://other/subtitles/en.m3u8')).toBeNull();
  });

  it('are chosen by the parameter, otherwise by the last choice; forced ones are not counted', () => {
    expect(initialText(tracks, '1', null)?.id).toBe('b');
    expect(initialText(tracks, '0', 'de')).toBeNull();
    expect(initialText(tracks, 'PT', null)?.id).toBe('b');
    expect(initialText(tracks, null, 'de')?.id).toBe('c');
    expect(initialText(tracks, 'fr', 'de')).toBeNull();
    expect(initialText(tracks, null, null)).toBeNull();
  });

  it('look as the viewer chose', () => {
    const rule = cueRule({ size: 'huge', colour: 'yellow', background: 'none' });
    expect(rule).toContain('font-size: 200%');
    expect(rule).toContain('color: #ff0');
    expect(rule).toContain('background: transparent');
  });
});
