import { describe, expect, it } from 'vitest';
import { embedCode, embedUrl, watchUrl } from './embed';

const ORIGIN = 'https://video.example.com';
const video = { videoId: '0190-a', title: 'Harbour', metadata: { width: 1080, height: 1920 } };

describe('links', () => {
  it('name the page and, for private videos, the token', () => {
    expect(watchUrl(ORIGIN, 'a')).toBe('https://video.example.com/watch/a');
    expect(embedUrl(ORIGIN, 'a', 'x+/=')).toBe('https://video.example.com/embed/a?token=x%2B%2F%3D');
  });
});

describe('the embed code', () => {
  it('keeps the shape of a portrait video', () => {
    expect(embedCode(ORIGIN, video)).toContain('aspect-ratio: 1080 / 1920');
  });

  it('is 16:9 before the size is known', () => {
    expect(embedCode(ORIGIN, { ...video, metadata: null })).toContain('aspect-ratio: 16 / 9');
  });

  it('cannot be left by a title', () => {
    const code = embedCode(ORIGIN, { ...video, title: '"><script>alert(1)</script>&' });
    expect(code).not.toContain('<script');
    expect(code).toContain('title="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;"');
  });

  it('has a title even where the video has none', () => {
    expect(embedCode(ORIGIN, { ...video, title: '' })).toContain('title="Video"');
  });
});
