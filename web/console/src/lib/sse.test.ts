import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EventReader, eventParser, type ReaderState, type ServerEvent } from './sse';

function parse(...pieces: string[]): { events: ServerEvent[]; positions: string[] } {
  const [events, positions]: [ServerEvent[], string[]] = [[], []];
  const feed = eventParser((event) => events.push(event), (id) => positions.push(id));
  pieces.forEach(feed);
  return { events, positions };
}

test('an event split at every byte is the same event', () => {
  const text = ': keep-alive\r\n\r\nid: 7\r\nevent: task\r\ndata: {"a":\r\ndata: 1}\r\n\r\n';
  expect(parse(...text).events).toEqual([{ id: '7', type: 'task', data: '{"a":\n1}' }]);
});

test('line ends may be LF, CR or CRLF', () => {
  for (const end of ['\n', '\r', '\r\n']) {
    const text = ['id:1', 'data:x', '', 'data: y', '', ''].join(end) + (end === '\r' ? 'id' : '');
    expect(parse(text).events).toEqual([
      { id: '1', type: 'message', data: 'x' },
      { id: '1', type: 'message', data: 'y' }
    ]);
  }
});

test('an id without an event is a position', () => {
  const { events, positions } = parse('id: 42\n\n');
  expect(events).toEqual([]);
  expect(positions).toEqual(['42']);
});

test('an event that is cut off before its blank line is not delivered', () => {
  expect(parse('id: 1\ndata: half').events).toEqual([]);
});

/** A reader against replies that the test hands out one by one. */
function reading() {
  const requests: { headers: Record<string, string>; reply: (response: Response) => void; fail: () => void }[] = [];
  const events: ServerEvent[] = [];
  const states: [ReaderState, boolean][] = [];
  const reader = new EventReader({
    url: '/api/events',
    send: (_url, headers, signal) =>
      new Promise((reply, reject) => {
        signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
        requests.push({ headers, reply, fail: () => reject(new TypeError('refused')) });
      }),
    onEvent: (event) => events.push(event),
    onState: (state, lost) => states.push([state, lost])
  });
  reader.start();
  return { reader, requests, events, states };
}

function stream(...pieces: string[]): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream({
    start(controller) {
      pieces.forEach((piece) => controller.enqueue(encoder.encode(piece)));
      controller.close();
    }
  });
  return new Response(body, { status: 200 });
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('after a cut the reader goes on behind the last event that it received', async () => {
  const { reader, requests, events } = reading();
  requests[0]!.reply(stream('id: 1\n\n', 'id: 2\nevent: job\ndata: {}\n\n', 'id: 3\ndata: cut'));
  await vi.advanceTimersByTimeAsync(1000);
  expect(events.map((event) => event.id)).toEqual(['2']);
  expect(requests[1]!.headers['last-event-id']).toBe('2');
  reader.stop();
});

test('a connection lost before any id is reported as a loss of events', async () => {
  const { reader, requests, states } = reading();
  requests[0]!.reply(stream(': hello\n\n'));
  await vi.advanceTimersByTimeAsync(1000);
  requests[1]!.reply(stream(': hello\n\n'));
  await vi.advanceTimersByTimeAsync(0);
  expect(states.filter(([state]) => state === 'open')).toEqual([['open', false], ['open', true]]);
  reader.stop();
});

test('waits grow to ten seconds while the service is down, and hurry ends a wait', async () => {
  vi.spyOn(Math, 'random').mockReturnValue(1);
  const { reader, requests } = reading();
  for (let failure = 0; failure < 8; failure++) {
    requests.at(-1)!.fail();
    await vi.advanceTimersByTimeAsync(10_000);
    expect(requests).toHaveLength(failure + 2);
  }
  requests.at(-1)!.fail();
  await vi.advanceTimersByTimeAsync(9000);
  expect(requests).toHaveLength(9);
  reader.hurry();
  await vi.advanceTimersByTimeAsync(0);
  expect(requests).toHaveLength(10);
  reader.stop();
});

test('a rate limit is waited out', async () => {
  const { reader, requests } = reading();
  requests[0]!.reply(new Response('', { status: 429, headers: { 'retry-after': '30' } }));
  await vi.advanceTimersByTimeAsync(29_000);
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1500);
  expect(requests).toHaveLength(2);
  reader.stop();
});

test('a connection without a byte for 45 s is replaced', async () => {
  const { reader, requests } = reading();
  requests[0]!.reply(new Response(new ReadableStream(), { status: 200 }));
  await vi.advanceTimersByTimeAsync(44_000);
  expect(requests).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(3000);
  expect(requests).toHaveLength(2);
  reader.stop();
});

test('a rejected token and a missing right end the reader', async () => {
  for (const status of [401, 403]) {
    const { requests, states } = reading();
    requests[0]!.reply(new Response('', { status }));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(requests).toHaveLength(1);
    expect(states.at(-1)).toEqual(['closed', false]);
  }
});

test('a reader that was stopped continues behind its last event', async () => {
  const { reader, requests } = reading();
  requests[0]!.reply(stream('id: 4\n\n'));
  await vi.advanceTimersByTimeAsync(0);
  reader.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
  reader.start();
  expect(requests[1]!.headers['last-event-id']).toBe('4');
  reader.stop();
});
