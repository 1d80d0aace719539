// The viewer's camera: on only while it is shown, off as soon as the photo is taken or the page is left.

const WANTED = { audio: false, video: { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 720 } } };
const QUALITY = 0.92;
const WORDS = {
  NotAllowedError: "The browser does not let this page use the camera. Allow it beside the address, then try again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is used by another program. Close that, then try again.",
};

export const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

export class Camera {
  #video; #stream = null; #turn = 0;

  constructor(video) {
    this.#video = video;
    addEventListener("pagehide", () => this.stop());
  }

  get on() { return this.#stream !== null; }

  // Show what the camera sees; throws an Error whose message is for people.
  async start() {
    const turn = ++this.#turn;
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia(WANTED);
    } catch (error) {
      throw new Error(WORDS[error.name] ?? "The camera cannot be used.");
    }
    if (turn !== this.#turn) return stream.getTracks().forEach((track) => track.stop());
    this.#stream = stream;
    this.#video.srcObject = stream;
    await this.#video.play();
  }

  // Return what is seen now as a JPEG, not mirrored as the preview is, and switch the camera off.
  async take() {
    const { videoWidth: width, videoHeight: height } = this.#video;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    this.stop();
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
  }

  stop() {
    this.#turn++;
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = this.#video.srcObject = null;
  }
}
