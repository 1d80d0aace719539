// Plays one stream with one player and writes down everything a viewer could notice.

const video = document.querySelector("#video");
const log = { events: [], frames: [], errors: [], holes: 0, ended: false, stalled: 0 };
window.log = log;

for (const name of ["stalled", "seeking", "seeked", "ended", "playing", "error"]) {
  video.addEventListener(name, () => log.events.push([name, video.currentTime]));
}
// A picture that is late although its bytes are there is the machine's fault, not the stream's.
video.addEventListener("waiting", () => log.events.push([ahead() > 0.3 ? "starved" : "waiting", video.currentTime]));
video.addEventListener("ended", () => { log.ended = true; });
video.addEventListener("seeking", () => { log.ended = false; });
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

// Height and mean colour of each region {x, y, w, h} (fractions of the picture) of every picture that is shown.
function watchPictures(regions) {
  const canvas = new OffscreenCanvas(320, 180);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const look = (_, { mediaTime, height }) => {
    context.drawImage(video, 0, 0, 320, 180);
    const means = regions.map(({ x, y, w, h }) => {
      const box = [x * 320, y * 180, w * 320, h * 180].map(Math.round);
      const { data } = context.getImageData(...box);
      const sum = [0, 0, 0];
      for (let i = 0; i < data.length; i += 4) for (let c = 0; c < 3; c++) sum[c] += data[i + c];
      return sum.map((s) => s / (data.length / 4));
    });
    log.frames.push([mediaTime, height, ...means]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}

// Gaps in what is buffered, as long as nobody has jumped.
function watchHoles() {
  const timer = setInterval(() => { log.holes = Math.max(log.holes, video.buffered.length - 1); }, 100);
  window.stopHoles = () => clearInterval(timer);
}

// Each plays a stream from its lowest rung without changing it by itself, and returns what changes to another one.
const players = {
  async dash(url, buffer_s) {
    const player = await dashPlayer("npm/dashjs/dist/modern/umd/dash.all.min.js", url, {
      buffer: { bufferTimeDefault: buffer_s, bufferTimeAtTopQuality: buffer_s, bufferTimeAtTopQualityLongForm: buffer_s },
    });
    return (high) => player.setRepresentationForTypeByIndex("video", high ? 1 : 0, true);
  },
  async dash3(url, buffer_s) {
    const player = await dashPlayer("players/dashjs3/dist/dash.all.min.js", url, {
      stableBufferTime: buffer_s, bufferTimeAtTopQuality: buffer_s, bufferTimeAtTopQualityLongForm: buffer_s,
      fastSwitchEnabled: true,
    });
    return (high) => player.setQualityFor("video", high ? 1 : 0);
  },
  hls: (url, buffer_s) => hlsPlayer("npm/hls.js/dist/hls.min.js", url, buffer_s, { cmcd: {} }),
  light: (url, buffer_s) => hlsPlayer("npm/hls.js/dist/hls.light.min.js", url, buffer_s, {}),
  "shaka-dash": shakaPlayer,
  "shaka-hls": shakaPlayer,
  async native(url) {
    video.src = url;
    video.play();
    return () => {};
  },
};

async function dashPlayer(library, url, settings) {
  await script(library);
  const player = dashjs.MediaPlayer().create();
  const abr = { autoSwitchBitrate: { video: false }, initialBitrate: { video: 1 } };
  player.updateSettings({ streaming: { ...settings, abr, cmcd: { enabled: true } } });
  player.on("error", (e) => log.errors.push(JSON.stringify(e.error ?? e)));
  player.initialize(video, url, true);
  window.player = player;
  return player;
}

async function hlsPlayer(library, url, buffer_s, settings) {
  await script(library);
  const player = new Hls({ maxBufferLength: buffer_s, maxMaxBufferLength: buffer_s, ...settings });
  const lowest = () => player.levels.reduce((low, level, i, all) => (level.bitrate < all[low].bitrate ? i : low), 0);
  player.on(Hls.Events.ERROR, (_, e) => {
    const starved = e.details === Hls.ErrorDetails.BUFFER_STALLED_ERROR && ahead() > 0.3;
    if (!starved) log.errors.push(`${e.details} fatal=${e.fatal}, ${ahead()} s ahead at ${video.currentTime} s`);
  });
  player.on(Hls.Events.MANIFEST_PARSED, () => { player.loadLevel = lowest(); video.play(); });
  player.loadSource(url);
  player.attachMedia(video);
  window.player = player;
  return (high) => { player.currentLevel = high ? player.levels.length - 1 - lowest() : lowest(); };
}

async function shakaPlayer(url, buffer_s) {
  await script("players/shaka-player/dist/shaka-player.compiled.js");
  const player = new shaka.Player();
  player.addEventListener("error", ({ detail }) => log.errors.push(`shaka ${detail.code} ${detail.message}`));
  await player.attach(video);
  player.configure({ streaming: { bufferingGoal: buffer_s }, abr: { enabled: false }, cmcd: { enabled: true } });
  // Each picture is there with each sound.
  const stereo = () => player.getVariantTracks().filter(({ channelsCount }) => channelsCount <= 2);
  const tracks = () => stereo().sort((one, other) => one.height - other.height);
  player.addEventListener("manifestparsed", () => player.selectVariantTrack(tracks()[0]));
  await player.load(url);
  player.selectVariantTrack(tracks()[0], true);
  video.play();
  return (high) => player.selectVariantTrack(tracks().at(high ? -1 : 0), true);
}

// Seconds that are buffered beyond the present place.
function ahead() {
  const { buffered, currentTime } = video;
  const ends = Array.from(buffered, (_, i) => (buffered.start(i) <= currentTime ? buffered.end(i) : 0));
  return Math.max(0, ...ends) - currentTime;
}

function script(src) {
  return new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src, onload: done, onerror: failed }));
  });
}

window.play = async (kind, url, regions, buffer_s) => {
  watchPictures(regions);
  watchHoles();
  window.toRung = await players[kind](url, buffer_s);
};

// Play from one media time to another, whatever came before.
window.playFrom = (start) => {
  stopHoles();
  video.currentTime = start;
  return video.play();
};

// Show the captions of one language as a viewer's menu would; return whether the player offers it yet.
window.showCaptions = (language) => {
  const { player } = window;
  const tracks = player.getTracksFor ? player.getTracksFor("text") : player.subtitleTracks;
  const index = tracks.findIndex(({ lang }) => lang === language);
  if (index < 0) return false;
  if (player.setTextTrack) player.setTextTrack(index);
  else Object.assign(player, { subtitleDisplay: true, subtitleTrack: index });
  return true;
};

// The text that stands on the screen now.
window.captionsShown = () => Array.from(video.textTracks)
  .filter(({ mode }) => mode === "showing")
  .flatMap(({ activeCues }) => Array.from(activeCues ?? [], ({ text }) => text));

// Where dash.js finds the small picture of a time: address and rectangle.
window.thumbnail = (time) => new Promise((found) => {
  window.player.provideThumbnail(time, (one) => found(one && [one.url, one.x, one.y, one.width, one.height]));
});

// Where playing has come to, for the message of a test that fails.
function place() {
  const { currentTime, duration, paused, ended, readyState, buffered } = video;
  const ranges = Array.from(buffered, (_, i) => [buffered.start(i), buffered.end(i)]);
  return JSON.stringify({ currentTime, duration, paused, ended, readyState, buffered: ranges });
}

window.summary = () => ({ ...log, dropped: video.getVideoPlaybackQuality().droppedVideoFrames, at: video.currentTime, place: place() });
// Not every player signals the end of the stream when the machine is busy; the last picture has been shown all the same.
window.atEnd = () => log.ended || video.currentTime > video.duration - 0.1;
window.at = () => video.currentTime;
