// Runs in every page before its own scripts: records what the media element does, and reads what the player shows.

(() => {
  const events = [];
  const kinds = ["playing", "waiting", "seeking", "seeked", "ended", "error", "durationchange", "loadedmetadata"];
  let last = null;
  let watched = null;

  // Media events do not bubble, so every new player's element gets its listeners once.
  function watch(video) {
    if (watched === video) return;
    watched = video;
    for (const kind of kinds) {
      video.addEventListener(kind, () => events.push({ kind, time: video.currentTime, at: performance.now() / 1000 }));
    }
  }

  function element() {
    return document.querySelector("stream-player");
  }

  function tick() {
    const video = element()?.shadowRoot?.querySelector("video");
    if (!video) return;
    watch(video);
    const now = { time: video.currentTime, at: performance.now() / 1000 };
    // Progress that playback itself explains is not a jump: the clock of the page may be late, but not early.
    const most = last && !video.paused ? (now.at - last.at) * video.playbackRate : 0;
    if (last && !video.seeking && (now.time < last.time - 0.05 || now.time > last.time + most + 0.3)) {
      events.push({ kind: "jump", from: last.time, time: now.time, at: now.at });
    }
    last = now;
  }
  setInterval(tick, 50);

  const visible = (node) => Boolean(node) && !node.hidden && node.checkVisibility?.({ visibilityProperty: true }) !== false;

  // Everything that is read or read out: texts, labels and value texts, in shadow trees, too.
  function texts(root, found = []) {
    for (const node of root.childNodes) {
      if (node.nodeType === Node.TEXT_NODE && node.data.trim()) found.push(node.data.trim());
      if (node.nodeType !== Node.ELEMENT_NODE || ["STYLE", "SCRIPT", "TEMPLATE"].includes(node.tagName)) continue;
      for (const name of ["aria-label", "aria-valuetext", "title"]) {
        if (node.getAttribute(name)) found.push(node.getAttribute(name));
      }
      if (node.tagName.includes("-") && getComputedStyle(node).display === "none") continue;
      if (node.shadowRoot) texts(node.shadowRoot, found);
      texts(node, found);
    }
    return found;
  }

  function bar() {
    return element().shadowRoot.querySelector("stream-seek-bar").shadowRoot;
  }

  function shade() {
    const [track, part] = [bar().querySelector("#track"), bar().querySelector("#unencoded")];
    if (!visible(part)) return null;
    const [whole, dark] = [track.getBoundingClientRect(), part.getBoundingClientRect()];
    return { from: (dark.left - whole.left) / whole.width, to: (dark.right - whole.left) / whole.width };
  }

  function shown(name) {
    const node = element().shadowRoot.querySelector(`[data-part="${name}"]`);
    return visible(node) ? node.textContent.trim() : null;
  }

  const tracks = (video) => [...video.textTracks].map(({ label, language, mode, activeCues }) => ({
    label, language, mode, cues: [...(activeCues ?? [])].map((cue) => cue.text),
  }));

  window.observed = {
    // The events since the last call, and the current state.
    state() {
      const player = element();
      const video = player.shadowRoot.querySelector("video");
      const range = bar().querySelector("#range").getBoundingClientRect();
      const finite = (value) => (Number.isFinite(value) ? value : null);
      return {
        time: video.currentTime, duration: finite(video.duration), paused: video.paused, ended: video.ended, muted: video.muted,
        volume: video.volume, rate: video.playbackRate, loop: video.loop, source: video.currentSrc, height: video.videoHeight, ready: video.readyState,
        poster: video.poster, buffered: video.buffered.length > 0 ? video.buffered.end(video.buffered.length - 1) : 0,
        status: shown("status"), problem: shown("problem"), preparing: shown("preparing"), offer: shown("offer"), chip: shown("chip"),
        sound: shown("sound"), value: bar().querySelector("#range").getAttribute("aria-valuetext"), shade: shade(),
        bar: [range.x, range.y, range.width, range.height], controls: visible(player.shadowRoot.querySelector(".bar")),
        tracks: tracks(video), texts: texts(document.body), heading: document.querySelector("h1")?.textContent ?? null,
        title: document.title, events: events.splice(0),
      };
    },
    // The brightness of the 16 blocks of a numbered picture (tests/e2e/harness/picture.rs), 0 to 255.
    async blocks(tile) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [32, 8];
      const context = canvas.getContext("2d", { willReadFrequently: true });
      if (tile) {
        const image = new Image();
        image.src = tile.url;
        await image.decode();
        const [x, y, width, height] = tile.box;
        context.drawImage(image, x, y, width, height, 0, 0, 32, 8);
      } else {
        context.drawImage(element().shadowRoot.querySelector("video"), 0, 0, 32, 8);
      }
      return Array.from({ length: 16 }, (_, bit) => {
        const { data } = context.getImageData((bit % 8) * 4 + 1, Math.floor(bit / 8) * 4 + 1, 2, 2);
        return (data[0] + data[4] + data[8] + data[12]) / 4;
      });
    },
    // The image and the time in the preview above the seek bar.
    preview() {
      const root = element().shadowRoot;
      const thumbnail = root.querySelector("media-preview-thumbnail");
      const box = thumbnail?.getAttribute("mediapreviewcoords")?.split(/\s+/).map(Number);
      return { url: thumbnail?.getAttribute("mediapreviewimage") ?? null, box: box ?? null,
        time: Number(root.querySelector("stream-seek-bar").getAttribute("mediapreviewtime")) };
    },
  };
})();
