/** Links to a video's page and the code that embeds its player. Pure. */

/** The properties of a video that an embed code contains. */
export interface Embeddable {
  videoId: string;
  title: string;
  metadata: { width: number; height: number } | null;
}

/** The URL of a video's own page; `token` opens a private one. */
export function watchUrl(origin: string, videoId: string, token?: string): string {
  return page(origin, 'watch', videoId, token);
}

/** The URL of the page that only contains the player. */
export function embedUrl(origin: string, videoId: string, token?: string): string {
  return page(origin, 'embed', videoId, token);
}

/** An iframe that fills the width of its container in the shape of the video. */
export function embedCode(origin: string, video: Embeddable, token?: string): string {
  const { width, height } = video.metadata ?? { width: 0, height: 0 };
  const shape = width > 0 && height > 0 ? `${width} / ${height}` : '16 / 9';
  const attributes: [name: string, value: string][] = [
    ['src', embedUrl(origin, video.videoId, token)],
    ['title', video.title || 'Video'],
    ['style', `width: 100%; aspect-ratio: ${shape}; border: 0`],
    ['loading', 'lazy'],
    ['allow', 'autoplay; fullscreen; picture-in-picture; encrypted-media']
  ];
  const text = attributes.map(([name, value]) => `${name}="${escape(value)}"`).join(' ');
  return `<iframe ${text} allowfullscreen></iframe>`;
}

function page(origin: string, kind: string, videoId: string, token?: string): string {
  const query = token ? `?token=${encodeURIComponent(token)}` : '';
  return `${origin}/${kind}/${encodeURIComponent(videoId)}${query}`;
}

/** Text as the value of an HTML attribute in double quotes. */
function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('"', '&quot;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
}
