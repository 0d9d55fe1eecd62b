// Runs in the page: one video element, one player, and a running report of what they do.
// `window.order` names the player and the manifest; `window.report(event)` passes events to play.mjs.

const video = document.querySelector("video");
const order = window.order;
const state = {
  errors: [], heights: [], texts: [], thumbnails: [], startedAt: null, longestStall: 0, ended: false,
};

function note(kind, data = {}) {
  const duration = Number.isFinite(video.duration) ? video.duration : null;
  return window.report({ kind, time: video.currentTime, duration, ...data });
}

function fail(source, data) {
  state.errors.push({ source, ...data });
  note("error", { source, ...data });
}

// Puts the newest playback token into a URL, as docs/playback.md shows; `order.renewal` is the reply with the first one.
const fresh = order.renewal ? renewing(order.renewal) : (url) => url;

// Seconds that players buffer ahead.
const ahead = order.renewal ? 4 : 8;

// Shows the key frames at some times in a video element of their own.
async function show(hls, times) {
  const frames = hls.createIFramePlayer();
  frames.on(Hls.Events.ERROR, (_, { details, fatal }) => fail("hls.js key frames", { details, fatal }));
  const small = document.body.appendChild(document.createElement("video"));
  small.muted = true;
  const attached = new Promise((done) => frames.once(Hls.Events.MEDIA_ATTACHED, done));
  frames.attachMedia(small);
  await attached;
  for (const at of times) {
    // A request that comes before the playlist is loaded can be lost, so it is repeated.
    for (let n = 0; small.readyState < 2 || small.seeking || Math.abs(small.currentTime - at) > 2; n++) {
      if (n % 20 === 0) frames.loadMediaAt(at);
      await new Promise((done) => setTimeout(done, 50));
    }
    state.thumbnails.push({ at, width: small.videoWidth });
  }
}

// Each function loads the manifest into a player, and returns a function that switches to the rung of a height soon
// and discards the buffered media.
const players = {
  async "hls.js"() {
    const hls = new Hls({
      startLevel: 0, maxBufferLength: ahead, maxMaxBufferLength: ahead,
      xhrSetup: (xhr, url) => xhr.open("GET", fresh(url)),
    });
    hls.on(Hls.Events.ERROR, (_, data) => {
      const { type, sn, level, start, duration } = data.frag ?? {};
      fail("hls.js", { fatal: data.fatal, details: data.details, type, sn, level, start, length: duration });
    });
    const parsed = new Promise((done) => hls.on(Hls.Events.MANIFEST_PARSED, done));
    hls.loadSource(order.manifest);
    hls.attachMedia(video);
    await parsed;
    hls.loadLevel = 0;
    if (order.text) {
      hls.subtitleTrack = hls.subtitleTracks.findIndex((track) => track.lang === order.text);
      hls.subtitleDisplay = true;
    }
    if (order.fast) {
      video.addEventListener("playing", () => {
        video.playbackRate = order.fast.rate;
        show(hls, order.fast.thumbnails);
      }, { once: true });
    }
    return (height) => {
      hls.nextLevel = hls.levels.findIndex((level) => level.height === height);
    };
  },
  async "video.js"() {
    const player = videojs(video, { autoplay: true, muted: true, preload: "auto" });
    player.on("error", () => fail("video.js", { code: player.error()?.code, message: player.error()?.message }));
    player.src({ src: order.manifest, type: "application/vnd.apple.mpegurl" });
    await new Promise((done) => player.one("playing", done));
    return () => fail("video.js", { message: "switching rungs is not tested" });
  },
  async shaka() {
    shaka.polyfill.installAll();
    const player = new shaka.Player();
    await player.attach(video);
    player.getNetworkingEngine().registerRequestFilter((type, request) => {
      request.uris = request.uris.map(fresh);
    });
    // Chromium estimates 1.3 to 1.6 Mbit/s at random in each session. Shaka Player takes that estimate unless this is
    // off, and the bit rate of 480p lies within it.
    player.configure({
      abr: { enabled: false, useNetworkInformation: false, defaultBandwidthEstimate: 1000 },
      streaming: { bufferingGoal: ahead, rebufferingGoal: 0.5 },
    });
    player.addEventListener("error", (event) => {
      fail("shaka", { code: event.detail.code, severity: event.detail.severity });
    });
    if (order.text) {
      // Before anything is loaded: cues of a track that is chosen right after may go to the one before it.
      player.configure({ preferredText: [{ language: order.text }] });
    }
    await player.load(order.manifest, order.start);
    if (order.text) {
      player.selectTextTrack(player.getTextTracks().find((track) => track.language === order.text));
    }
    if (order.fast) {
      for (const at of order.fast.thumbnails) {
        const { positionX, positionY, width, height, uris } = await player.getThumbnails(null, at) ?? {};
        state.thumbnails.push({ at, x: positionX, y: positionY, width, height, url: uris?.[0] });
      }
      video.addEventListener("playing", () => player.trickPlay(order.fast.rate, true), { once: true });
    }
    return (height) => {
      const track = player.getVariantTracks().find((found) => found.height === height);
      player.selectVariantTrack(track, true, 2);
    };
  },
  async "dash.js"() {
    const player = dashjs.MediaPlayer().create();
    const settings = { streaming: {
      abr: { autoSwitchBitrate: { video: false }, initialBitrate: { video: 1 } },
      buffer: { bufferTimeDefault: ahead, bufferTimeAtTopQuality: ahead, bufferTimeAtTopQualityLongForm: ahead },
    } };
    // dash.js must start playback itself: with a play() from outside, before it listens, it takes a
    // dynamic MPD for paused and never asks for it again.
    player.initialize(video, null, true);
    player.addRequestInterceptor(async (request) => {
      request.url = fresh(request.url);
      return request;
    });
    player.updateSettings(settings);
    player.on(dashjs.MediaPlayer.events.ERROR, (event) => {
      fail("dash.js", { code: event.error?.code, message: event.error?.message });
    });
    player.on(dashjs.MediaPlayer.events.TEXT_TRACKS_ADDED, ({ tracks }) => {
      if (order.text) {
        player.setTextTrack(tracks.findIndex((track) => track.lang === order.text));
      }
    });
    player.attachSource(new URL(order.manifest, location).href, order.start ?? undefined);
    await new Promise((done) => video.addEventListener("playing", done, { once: true }));
    if (order.fast) player.setPlaybackRate(order.fast.rate);
    for (const at of order.fast?.thumbnails ?? []) {
      const found = await new Promise((done) => player.provideThumbnail(at, done));
      const { x, y, width, height, url } = found ?? {};
      state.thumbnails.push({ at, x, y, width, height, url });
    }
    return (height) => {
      const found = player.getRepresentationsByType("video").find((r) => r.height === height);
      player.setRepresentationForTypeById("video", found.id, true);
    };
  },
};

// The text that the viewer reads at this moment, noted once.
function read() {
  for (const track of [...video.textTracks].filter((track) => track.mode === "showing")) {
    for (const { text, startTime: start, endTime: end } of track.activeCues ?? []) {
      const known = state.texts.some((seen) => seen.text === text && seen.start === start);
      if (!known) {
        state.texts.push({ at: video.currentTime, language: track.language, text, start, end });
      }
    }
  }
}

function watch(switchTo) {
  const switches = [...order.switches];
  let [last, moved, reported] = [-1, performance.now(), -1];
  setInterval(() => {
    const now = performance.now();
    read();
    const height = video.videoHeight;
    if (height > 0 && state.heights.at(-1) !== height) {
      state.heights.push(height);
      note("height", { height });
    }
    if (video.currentTime !== last || video.ended || state.startedAt === null) {
      moved = now;
    }
    last = video.currentTime;
    state.longestStall = Math.max(state.longestStall, (now - moved) / 1000);
    if (Math.floor(last) > reported) {
      reported = Math.floor(last);
      note("tick", { stall: state.longestStall });
    }
    if (switches.length > 0 && last >= switches[0].at) {
      const { height: wanted } = switches.shift();
      note("switch", { wanted });
      switchTo(wanted);
    }
  }, 50);
}

video.addEventListener("playing", () => {
  state.startedAt ??= video.currentTime;
  note("playing");
});
for (const kind of ["waiting", "seeking", "durationchange", "loadedmetadata"]) {
  video.addEventListener(kind, () => note(kind));
}
video.addEventListener("error", () => fail("media", { code: video.error?.code, message: video.error?.message }));
video.addEventListener("ended", () => {
  state.ended = true;
  note("ended").then(() => window.finish());
});

window.summary = () => {
  const quality = video.getVideoPlaybackQuality();
  const keyFrames = performance.getEntriesByType("resource").filter(({ name }) => /\/i\d+\.m4s/.test(name));
  return {
    kind: "summary", keyFrames: keyFrames.length, time: video.currentTime, duration: Number.isFinite(video.duration) ? video.duration : null,
    frames: quality.totalVideoFrames, dropped: quality.droppedVideoFrames, ...state,
  };
};

players[order.player]()
  .then(async (switchTo) => {
    watch(switchTo);
    if (video.paused) {
      await video.play();
    }
  })
  .catch((error) => fail("page", { message: String(error.message ?? error), code: error.code }));
