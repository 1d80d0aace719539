// Plays one stream with one player and writes down everything a viewer could notice.

// Well under the 8 s that a late-bound slot allows, so that a busy machine has time to look at the photo.
const BUFFER_S = 4;
const video = document.querySelector("#video");
const log = { events: [], frames: [], errors: [], holes: 0, ended: false, stalled: 0 };
window.log = log;

for (const name of ["waiting", "stalled", "seeking", "ended", "playing", "error"]) {
  video.addEventListener(name, () => log.events.push([name, video.currentTime]));
}
video.addEventListener("ended", () => { log.ended = true; });
video.addEventListener("error", () => log.errors.push(`media error ${video.error.code}: ${video.error.message}`));

// Wall-clock time without progress once playing has begun, in seconds.
let stalledSince = null;
let started = false;
video.addEventListener("playing", () => {
  if (started && stalledSince !== null) log.stalled += (performance.now() - stalledSince) / 1000;
  started = true;
  stalledSince = null;
});
video.addEventListener("waiting", () => { if (started) stalledSince = performance.now(); });

// The mean colour of each region {x, y, w, h} (fractions of the picture) of every picture that is shown.
function watchPictures(regions) {
  const canvas = new OffscreenCanvas(640, 360);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const look = (_, { mediaTime }) => {
    context.drawImage(video, 0, 0, 640, 360);
    const means = regions.map(({ x, y, w, h }) => {
      const box = [x * 640, y * 360, w * 640, h * 360].map(Math.round);
      const { data } = context.getImageData(...box);
      const sum = [0, 0, 0];
      for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
      return sum.map((s) => s / (data.length / 4));
    });
    log.frames.push([mediaTime, ...means]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}

function watchHoles() {
  setInterval(() => { log.holes = Math.max(log.holes, video.buffered.length - 1); }, 100);
}

const players = {
  async dash(url) {
    await script("npm/dashjs/dist/modern/umd/dash.all.min.js");
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({ streaming: {
      buffer: { bufferTimeDefault: BUFFER_S, bufferTimeAtTopQuality: BUFFER_S, bufferTimeAtTopQualityLongForm: BUFFER_S },
      cmcd: { enabled: true },
    } });
    player.on("error", (e) => log.errors.push(JSON.stringify(e.error ?? e)));
    player.initialize(video, url, true);
  },
  async hls(url) {
    await script("npm/hls.js/dist/hls.min.js");
    const player = new Hls({ maxBufferLength: BUFFER_S, maxMaxBufferLength: BUFFER_S, cmcd: {} });
    player.on(Hls.Events.ERROR, (_, e) => log.errors.push(`${e.details} fatal=${e.fatal}`));
    player.loadSource(url);
    player.attachMedia(video);
    player.on(Hls.Events.MANIFEST_PARSED, () => video.play());
  },
};

function script(src) {
  return new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src, onload: done, onerror: failed }));
  });
}

window.play = (kind, url, regions) => {
  watchPictures(regions);
  watchHoles();
  return players[kind](url);
};

// Where playing has come to, for the message of a test that fails.
function place() {
  const { currentTime, duration, paused, ended, readyState, buffered } = video;
  const ranges = Array.from(buffered, (_, i) => [buffered.start(i), buffered.end(i)]);
  return JSON.stringify({ currentTime, duration, paused, ended, readyState, buffered: ranges });
}

window.summary = () => ({ ...log, dropped: video.getVideoPlaybackQuality().droppedVideoFrames, at: video.currentTime, place: place() });
// Not every player signals the end of the stream when the machine is busy; the last picture has been shown all the same.
window.atEnd = () => log.ended || video.currentTime > video.duration - 0.1;
