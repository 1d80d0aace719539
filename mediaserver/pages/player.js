// One film in one <video>, by dash.js or hls.js over Media Source Extensions, else by the browser itself.

// A slot's segment is decided when it is asked for, so we ask late: the last request may reach 2 s beyond this.
const BUFFER_S = 6;
// Apple's engine plays VP9 without its alpha, and shows that of HEVC.
const APPLE = navigator.vendor.startsWith("Apple");
const LIBRARIES = { dash: "lib/dash.js", hls: "lib/hls.js" };

export function chosenPlayer(search) {
  const asked = new URLSearchParams(search).get("player");
  if (["dash", "hls", "native", "file"].includes(asked)) return asked;
  // Some browsers play HLS natively and worse; media source first.
  return "MediaSource" in window || "ManagedMediaSource" in window ? "dash" : "native";
}

export class Player {
  #video; #still; #kind; #stop = () => {}; #onProblem; #turn = 0; #drawing = null; #place = null; #started = false;

  constructor(video, still, kind, onProblem) {
    this.#video = video;
    this.#still = still;
    this.#kind = kind;
    this.#onProblem = onProblem;
    video.addEventListener("canplay", () => this.#begin());
  }

  // Play the chapter whose manifests lie below `base`; the film goes on where it was, playing or not.
  // `alpha` is what the server says of a transparent chapter, else null.
  async open(base, { at = 0, play = false, alpha = null } = {}) {
    const turn = ++this.#turn, [kind, name] = this.#way(alpha), stacked = alpha && name === "master.m3u8";
    const [{ StackedAlpha } = {}] = await Promise.all([
      stacked ? import("./alpha.js") : undefined, LIBRARIES[kind] && library(LIBRARIES[kind]),
    ]);
    if (turn !== this.#turn) return;
    this.#freeze();
    this.#stop();
    this.#video.parentElement.toggleAttribute("data-alpha", Boolean(alpha));
    this.#draw(StackedAlpha);
    const url = new URL(name, base).href;
    this.#video.dataset.manifest = url;
    this.#started = false;
    this.#stop = this[`_${kind}`](url, at);
    if (play) this.#video.play().catch(() => {});
  }

  // Go on with other manifests of the same chapter, at the same time.
  switchTo(base, alpha = null) {
    const { currentTime, paused, ended } = this.#video;
    return this.open(base, { at: this.#place ?? currentTime, play: !paused && !ended, alpha });
  }

  // Go to `at`, in seconds; a film that has not begun yet begins there.
  seek(at) {
    this.#place = this.#started ? null : at;
    this.#video.currentTime = at;
  }

  // Players begin at their own place, whatever was asked of the video before it had a picture.
  #begin() {
    const place = this.#place;
    [this.#place, this.#started] = [null, true];
    if (place !== null && Math.abs(this.#video.currentTime - place) > 0.1) this.#video.currentTime = place;
  }

  // By which player, and from which address below the chapter's.
  #way(alpha) {
    if (this.#kind === "file" && alpha) return ["native", alpha.webm];
    const kind = this.#kind === "file" || (alpha && APPLE && this.#kind === "dash") ? "native" : this.#kind;
    if (kind === "dash") return [kind, "stream.mpd"];
    return [kind, kind === "native" && APPLE && alpha?.hevc ? "hevc.m3u8" : "master.m3u8"];
  }

  // Show a stacked film on a canvas behind the video, which keeps its controls; without a drawer, the video itself.
  #draw(StackedAlpha) {
    this.#drawing?.layer.stop();
    this.#drawing?.canvas.remove();
    this.#drawing = null;
    this.#video.classList.toggle("stacked", Boolean(StackedAlpha));
    if (!StackedAlpha) return;
    const canvas = Object.assign(document.createElement("canvas"), { className: "drawn" });
    this.#video.before(canvas);
    this.#drawing = { canvas, layer: new StackedAlpha(this.#video, canvas) };
    this.#drawing.layer.start();
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
    const shown = this.#drawing?.canvas ?? video;
    this.#drawing?.layer.draw();
    [still.width, still.height] = [shown.videoWidth ?? shown.width, shown.videoHeight ?? shown.height];
    still.getContext("2d").drawImage(shown, 0, 0);
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
