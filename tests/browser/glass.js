// Reads every picture of a transparent film with its alpha, as a page shows it.

const video = document.querySelector("#video");
const seen = [];
const canvas = document.createElement("canvas");
const context = canvas.getContext("2d", { willReadFrequently: true });
let source = video;
let layer = null;

// Begin; a stacked film is drawn by the product's own module.
export async function watch(stacked) {
  Object.assign(window, { glass: seen, lookAt });
  if (stacked) {
    const { StackedAlpha } = await import("/pages/alpha.js");
    source = document.createElement("canvas");
    layer = new StackedAlpha(video, source);
    video.before(source);
  }
  let announced = null;
  const look = () => {
    if (!announced || video.readyState < 2) return;
    seen.push([announced.mediaTime, announced.height, ...read()]);
    announced = null;
  };
  const next = (_, picture) => {
    announced = picture;
    look();
    video.requestVideoFrameCallback(next);
  };
  video.requestVideoFrameCallback(next);
  // At first and after a jump a picture may be announced before it can be read.
  for (const ready of ["loadeddata", "seeked"]) video.addEventListener(ready, look);
}

// Jump there and return the picture that is shown.
async function lookAt(time_s) {
  const before = seen.length;
  video.pause();
  video.currentTime = time_s;
  while (seen.length === before || video.seeking) await new Promise((go) => setTimeout(go, 20));
  return seen.at(-1);
}

// Mean RGBA of the inside of each of four upright patches, and where the white bar at the bottom stands (0 to 1).
function read() {
  layer?.draw();
  const width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.clearRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const patches = [0, 1, 2, 3].map((i) => {
    const from = Math.ceil((width * i) / 4) + 4, to = Math.floor((width * (i + 1)) / 4) - 4;
    const { data } = context.getImageData(from, height >> 2, to - from, height >> 2);
    const sum = [0, 0, 0, 0];
    for (let at = 0; at < data.length; at++) sum[at % 4] += data[at];
    return sum.map((s) => s / (data.length / 4));
  });
  const { data } = context.getImageData(0, height - Math.round(height / 90), width, 1);
  const white = Array.from({ length: width }, (_, x) => x).filter((x) => Math.min(...data.slice(4 * x, 4 * x + 4)) > 190);
  return [patches, white.length ? (white[0] + white.at(-1) + 1) / 2 / width : -1];
}
