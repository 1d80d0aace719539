// Draws a film with stacked alpha onto a canvas: colours times alpha above, guard rows that are never shown, alpha below.

const GUARD_ROWS = 16;
const READY = ["loadeddata", "seeked"];
const CORNERS = new Float32Array([-1, -1, 1, -1, -1, 1, 1, 1]);
const VERTEX = `attribute vec2 corner; varying vec2 place;
void main() { place = vec2(corner.x + 1.0, 1.0 - corner.y) / 2.0; gl_Position = vec4(corner, 0.0, 1.0); }`;
// Half a row is kept from every border, so that filtering never reaches across the seam.
const FRAGMENT = `precision highp float; varying vec2 place; uniform sampler2D film; uniform float rows;
void main() {
  float seen = (rows - ${GUARD_ROWS}.0) / 2.0, row = clamp(place.y * seen, 0.5, seen - 0.5);
  float alpha = texture2D(film, vec2(place.x, (rows - seen + row) / rows)).g;
  gl_FragColor = vec4(min(texture2D(film, vec2(place.x, row / rows)).rgb, alpha), alpha);
}`;

export class StackedAlpha {
  #video; #canvas; #gl; #rows; #running = false; #late = () => this.draw();

  // Throws an Error with a sentence if the browser cannot draw.
  constructor(video, canvas) {
    this.#video = video;
    this.#canvas = canvas;
    this.#gl = canvas.getContext("webgl", { premultipliedAlpha: true, antialias: false, depth: false });
    if (!this.#gl) throw new Error("This browser cannot draw its transparency: WebGL is missing or switched off.");
    this.#prepare();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.#prepare());
  }

  start() {
    this.#running = true;
    // At first and after a jump a picture may be announced before it can be read.
    for (const ready of READY) this.#video.addEventListener(ready, this.#late);
    this.#wait();
  }

  stop() {
    this.#running = false;
    for (const ready of READY) this.#video.removeEventListener(ready, this.#late);
  }

  // Draw the film's present picture, at the size of its rung.
  draw() {
    const gl = this.#gl, { videoWidth: width, videoHeight: rows, readyState } = this.#video;
    if (readyState < 2 || rows <= GUARD_ROWS) return;
    const height = (rows - GUARD_ROWS) / 2, canvas = this.#canvas;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, this.#video);
    gl.uniform1f(this.#rows, rows);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  #wait() {
    this.#video.requestVideoFrameCallback(() => {
      if (!this.#running) return;
      this.draw();
      this.#wait();
    });
  }

  #prepare() {
    const gl = this.#gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.bindAttribLocation(program, 0, "corner");
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, CORNERS, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(0);
    gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
    this.#rows = gl.getUniformLocation(program, "rows");
  }
}
