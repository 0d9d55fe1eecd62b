// Uploads a file with tus-js-client, as any application would: `node tus.mjs ORDER`, ORDER being JSON with endpoint, token,
// file, chunk (bytes per request), interrupt (bytes after which the first attempt is broken off and a second client goes on).
import { createReadStream, statSync } from 'node:fs';
import { Upload } from 'tus-js-client';

const order = JSON.parse(process.argv[2]);
const options = {
  endpoint: order.endpoint,
  headers: { Authorization: `Bearer ${order.token}` },
  metadata: { filename: 'video.mp4', title: 'by tus-js-client', filetype: 'video/mp4' },
  chunkSize: order.chunk,
  uploadSize: statSync(order.file).size,
  retryDelays: [0, 200, 500, 1000],
};

function run(extra) {
  return new Promise((resolve, reject) => {
    let stopped = false;
    let video = '';
    const upload = new Upload(createReadStream(order.file), {
      ...options,
      ...extra,
      onAfterResponse: (_request, response) => {
        video = response.getHeader('Video-Id') ?? video;
      },
      onProgress: async (sent) => {
        if (!extra.uploadUrl && order.interrupt && sent >= order.interrupt && !stopped) {
          stopped = true;
          await upload.abort();
          resolve({ url: upload.url, done: false, video });
        }
      },
      onSuccess: () => resolve({ url: upload.url, done: true, video }),
      onError: reject,
    });
    upload.start();
  });
}

let result = await run({});
if (!result.done) {
  result = await run({ uploadUrl: result.url });
}
console.log(JSON.stringify(result));
process.exit(0);
