// One film in one <video>, by dash.js or hls.js over Media Source Extensions, else by the browser itself.

// A slot's segment is decided when it is asked for, so we ask late: the last request may reach 2 s beyond this.
const BUFFER_S = 6;
const LIBRARIES = { dash: "lib/dash.js", hls: "lib/hls.js" };

export function chosenPlayer(search) {
  const asked = new URLSearchParams(search).get("player");
  if (["dash", "hls", "native"].includes(asked)) return asked;
  // Some browsers play HLS natively and worse; media source first.
  return "MediaSource" in window || "ManagedMediaSource" in window ? "dash" : "native";
}

export class Player {
  #video; #still; #kind; #stop = () => {}; #onProblem; #turn = 0;

  constructor(video, still, kind, onProblem) {
    this.#video = video;
    this.#still = still;
    this.#kind = kind;
    this.#onProblem = onProblem;
  }

  // Play the chapter whose manifests lie below `base`; the film goes on where it was, playing or not.
  async open(base, { at = 0, play = false } = {}) {
    const turn = ++this.#turn;
    if (LIBRARIES[this.#kind]) await library(LIBRARIES[this.#kind]);
    if (turn !== this.#turn) return;
    this.#freeze();
    this.#stop();
    const url = new URL(this.#kind === "dash" ? "stream.mpd" : "master.m3u8", base).href;
    this.#video.dataset.manifest = url;
    this.#stop = this[`_${this.#kind}`](url, at);
    if (play) this.#video.play().catch(() => {});
  }

  // Go on with other manifests of the same chapter, at the same time.
  switchTo(base) {
    const { currentTime, paused, ended } = this.#video;
    return this.open(base, { at: currentTime, play: !paused && !ended });
  }

  _dash(url, at) {
    const player = dashjs.MediaPlayer().create();
    player.updateSettings({
      streaming: {
        buffer: { bufferTimeDefault: BUFFER_S, bufferTimeAtTopQuality: BUFFER_S, bufferTimeAtTopQualityLongForm: BUFFER_S },
        // In headers: the addresses stay the same, and the browser can keep what is immutable.
        cmcd: { enabled: true, mode: "headers" },
      },
    });
    player.on("error", ({ error }) => this.#onProblem(error?.message ?? "The film cannot be played."));
    player.initialize(this.#video, url, false, at || undefined);
    return () => player.destroy();
  }

  _hls(url, at) {
    const player = new Hls({
      maxBufferLength: BUFFER_S, maxMaxBufferLength: BUFFER_S, startPosition: at || -1, cmcd: { useHeaders: true },
    });
    player.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) this.#onProblem(data.details); });
    player.loadSource(url);
    player.attachMedia(this.#video);
    return () => player.destroy();
  }

  _native(url, at) {
    this.#video.src = at ? `${url}#t=${at}` : url;
    return () => { this.#video.removeAttribute("src"); this.#video.load(); };
  }

  // Show the last picture until the next manifest has one, so that a switch is no black flash.
  #freeze() {
    const video = this.#video, still = this.#still;
    if (video.readyState < 2) return;
    [still.width, still.height] = [video.videoWidth, video.videoHeight];
    still.getContext("2d").drawImage(video, 0, 0);
    still.hidden = false;
    const thaw = () => { still.hidden = true; };
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(thaw);
    else video.addEventListener("canplay", thaw, { once: true });
    setTimeout(thaw, 4000);
  }
}

const loading = new Map();

function library(name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = new URL(name, import.meta.url).href;
      script.onload = done;
      script.onerror = () => { loading.delete(name); failed(new Error("The player's script could not be loaded.")); };
      document.head.append(script);
    }));
  }
  return loading.get(name);
}
