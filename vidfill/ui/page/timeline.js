// The position in the video and the confidence of the track: a slider with a strip below it.

const TOP_PX = 12; // top of the strip, for the marks of prompts
const INSET_PX = 8; // the strip's ends lie under the middle of the slider's knob at its ends
const MAX_LANES = 4;

export class Timeline {
  constructor(slider, strip, onSeek) {
    this.slider = slider;
    this.strip = strip;
    this.data = { nFrames: 0, cuts: [], track: null, prompted: [], preview: null, isStale: false };
    slider.addEventListener("input", () => onSeek(Number(slider.value)));
    const seek = (event) => onSeek(this.#frameAt(event));
    strip.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") strip.setPointerCapture(event.pointerId);
      seek(event);
    });
    strip.addEventListener("pointermove", (event) => strip.hasPointerCapture(event.pointerId) && seek(event));
    new ResizeObserver(() => this.draw()).observe(strip);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  set(data) {
    this.data = { ...this.data, ...data };
    this.slider.max = Math.max(0, this.data.nFrames - 1);
    this.draw();
  }

  goTo(frame, text) {
    this.slider.value = frame;
    this.slider.setAttribute("aria-valuetext", text);
    this.draw();
  }

  draw() {
    const { strip, data } = this;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [strip.clientWidth, strip.clientHeight];
    if (!width || !data.nFrames) return;
    strip.width = Math.round(width * ratio);
    strip.height = Math.round(height * ratio);
    const context = strip.getContext("2d");
    context.scale(ratio, ratio);
    const ink = (name) => getComputedStyle(strip).getPropertyValue(`--${name}`);
    context.fillStyle = ink("line");
    context.globalAlpha = 0.5;
    context.fillRect(this.#x(0), TOP_PX, this.#x(data.nFrames) - this.#x(0), height - TOP_PX);
    context.globalAlpha = data.isStale ? 0.45 : 1;
    if (data.track) this.#drawTrack(context, ink, height);
    context.globalAlpha = 1;
    if (data.preview) {
      context.fillStyle = ink("accent");
      const [x0, x1] = [this.#x(data.preview.start), this.#x(data.preview.stop)];
      context.fillRect(x0, height - 4, Math.max(2, x1 - x0), 4);
    }
    context.fillStyle = ink("ink");
    for (const cut of data.cuts) context.fillRect(this.#x(cut) - 1, TOP_PX - 4, 2, height - TOP_PX + 4);
    context.fillStyle = ink("mark");
    for (const frame of data.prompted) this.#drawMark(context, this.#x(frame + 0.5));
    const x = this.#x(Number(this.slider.value) + 0.5);
    context.fillStyle = ink("card");
    context.fillRect(x - 2.5, TOP_PX, 5, height);
    context.fillStyle = ink("ink");
    context.fillRect(x - 1.5, TOP_PX, 3, height);
  }

  #drawTrack(context, ink, height) {
    const { track, nFrames } = this.data;
    const hatch = hatching(context, ink("lost"));
    const lanes = track.objects.length <= MAX_LANES ? track.objects : [lowest(track.objects)];
    const laneHeight = (height - TOP_PX) / lanes.length;
    lanes.forEach((lane, number) => {
      const bottom = TOP_PX + (number + 1) * laneHeight;
      const isOf = (span) => lanes.length < track.objects.length || span.object === lane.id;
      lane.columns.forEach((percent, column) => {
        if (percent < 100 * track.confident) return;
        const [left, right] = [column, column + 1].map((n) => Math.round(this.#x((n * nFrames) / lane.columns.length)));
        const tall = Math.max(2, ((laneHeight - 2) * percent) / 100);
        context.fillStyle = ink("sure");
        context.fillRect(left, bottom - tall, right - left, tall);
      });
      const span = (fill) => ({ start, stop }) => {
        const [x, y, wide] = [this.#x(start), bottom - laneHeight + 1, this.#x(stop) - this.#x(start)];
        context.fillStyle = fill;
        context.clearRect(x, y, wide, laneHeight - 1);
        context.fillRect(x, y, Math.max(2, wide), laneHeight - 1);
      };
      track.left.filter(isOf).forEach(span(ink("gone")));
      track.lost.filter(isOf).forEach(span(hatch));
    });
  }

  #drawMark(context, x) {
    context.beginPath();
    context.moveTo(x - 5, 1);
    context.lineTo(x + 5, 1);
    context.lineTo(x, TOP_PX - 2);
    context.fill();
  }

  #x(frame) {
    return INSET_PX + (frame / this.data.nFrames) * (this.strip.clientWidth - 2 * INSET_PX);
  }

  #frameAt(event) {
    const rect = this.strip.getBoundingClientRect();
    const ratio = (event.clientX - rect.left - INSET_PX) / (rect.width - 2 * INSET_PX);
    return Math.min(Math.max(Math.floor(ratio * this.data.nFrames), 0), this.data.nFrames - 1);
  }
}

function lowest(objects) {
  return { id: 0, columns: objects[0].columns.map((_, i) => Math.min(...objects.map((one) => one.columns[i]))) };
}

function hatching(context, color) {
  const tile = new OffscreenCanvas(6, 6);
  const ink = tile.getContext("2d");
  ink.strokeStyle = color;
  ink.lineWidth = 2.5;
  for (const shift of [-6, 0, 6]) {
    ink.moveTo(shift - 1, 7);
    ink.lineTo(shift + 7, -1);
  }
  ink.stroke();
  return context.createPattern(tile, "repeat");
}
