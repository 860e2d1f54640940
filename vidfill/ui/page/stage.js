// The picture with its mask and prompts; turns clicks, drags and keys into prompts.

const DRAG_PX = 6; // of the screen; a shorter drag is a click
const CROSS_STEP = 1 / 64; // of the picture's width, per arrow key
const RADIUS_PX = 8;

const COMMANDS = {
  ",": "back", ".": "forward", "[": "secondBack", "]": "secondOn", p: "play", m: "view", z: "undo", y: "redo",
  Delete: "forget", Backspace: "forget",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Stage {
  // on: { point(kind, x, y), box([x0, y0, x1, y1]), command(name), say(text) }; coordinates are the source's.
  constructor(canvas, on) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.on = on;
    this.size = { width: 1, height: 1 };
    this.tool = "points";
    this.view = { picture: null, mask: null, entries: [], object: 1, isStale: false };
    this.cross = null; // what the arrow keys move; visible while keys are used
    this.usesKeys = false;
    this.corner = null; // first corner of a box that is made with keys
    this.drag = null;
    this.#listen();
  }

  setSize(width, height, aspect) {
    this.size = { width, height };
    const ratio = (width * aspect) / height;
    this.canvas.style.aspectRatio = `${ratio}`;
    this.canvas.style.width = `min(100%, ${72 * ratio}vh)`;
    this.cross = { x: Math.floor(width / 2), y: Math.floor(height / 2) };
  }

  setTool(tool) {
    this.tool = tool;
    this.corner = null;
    this.canvas.classList.toggle("boxing", tool === "box");
    this.draw();
  }

  show(view) {
    this.view = view;
    this.draw();
  }

  pointAt(x, y) {
    this.canvas.focus();
    this.cross = { x, y };
    this.usesKeys = true;
    this.draw();
  }

  draw() {
    const { picture, mask, entries, isStale } = this.view;
    if (!picture) return;
    const { canvas, context } = this;
    if (canvas.width !== picture.width || canvas.height !== picture.height) {
      canvas.width = picture.width;
      canvas.height = picture.height;
    }
    context.globalAlpha = 1;
    context.drawImage(picture, 0, 0);
    if (mask) {
      context.globalAlpha = isStale ? 0.4 : 1;
      context.drawImage(mask, 0, 0, canvas.width, canvas.height);
      context.globalAlpha = 1;
    }
    for (const entry of entries) this.#drawEntry(entry);
    if (this.drag?.box) this.#drawBox(this.drag.box, 1);
    if (document.activeElement === canvas && this.usesKeys) {
      if (this.corner) this.#drawBox(sorted(this.corner, this.cross), 1);
      this.#drawCross();
    }
  }

  // Canvas pixels per screen pixel, and per source pixel.
  get #scale() {
    const shown = this.canvas.getBoundingClientRect().width || this.canvas.width;
    return { screen: this.canvas.width / shown, source: this.canvas.width / this.size.width };
  }

  #drawEntry(entry) {
    const { context } = this;
    context.globalAlpha = entry.id === this.view.object ? 1 : 0.6;
    if (entry.box) this.#drawBox(entry.box, context.globalAlpha, entry.id);
    for (const point of entry.points) this.#drawPoint(point, "+", "#1a7f37", entry.id);
    for (const point of entry.not_points) this.#drawPoint(point, "\u2212", "#c5221f", entry.id);
    context.globalAlpha = 1;
  }

  #drawPoint([x, y], sign, color, id) {
    const { context } = this;
    const { screen, source } = this.#scale;
    const radius = RADIUS_PX * screen;
    const [cx, cy] = [(x + 0.5) * source, (y + 0.5) * source];
    context.beginPath();
    context.arc(cx, cy, radius, 0, 2 * Math.PI);
    context.fillStyle = color;
    context.fill();
    context.lineWidth = 2 * screen;
    context.strokeStyle = "#fff";
    context.stroke();
    context.beginPath();
    context.moveTo(cx - radius / 2, cy);
    context.lineTo(cx + radius / 2, cy);
    if (sign === "+") {
      context.moveTo(cx, cy - radius / 2);
      context.lineTo(cx, cy + radius / 2);
    }
    context.stroke();
    this.#drawNumber(id, cx + radius * 1.3, cy - radius * 0.8);
  }

  #drawBox([x0, y0, x1, y1], alpha, id = null) {
    const { context } = this;
    const { screen, source } = this.#scale;
    const rect = [x0 * source, y0 * source, (x1 - x0) * source, (y1 - y0) * source];
    context.globalAlpha = alpha;
    for (const [width, color] of [[4, "#fff"], [2, "#0b57d0"]]) {
      context.lineWidth = width * screen;
      context.strokeStyle = color;
      context.strokeRect(...rect);
    }
    if (id !== null) this.#drawNumber(id, rect[0] + 5 * screen, rect[1] + 15 * screen);
  }

  #drawNumber(id, x, y) {
    if (new Set(this.view.ids).size < 2) return;
    const { context } = this;
    const { screen } = this.#scale;
    context.font = `bold ${13 * screen}px sans-serif`;
    context.lineWidth = 3 * screen;
    context.strokeStyle = "#000";
    context.strokeText(id, x, y);
    context.fillStyle = "#fff";
    context.fillText(id, x, y);
    context.strokeStyle = "#fff";
  }

  #drawCross() {
    const { context, cross } = this;
    const { screen, source } = this.#scale;
    const [x, y] = [(cross.x + 0.5) * source, (cross.y + 0.5) * source];
    for (const [width, color] of [[4, "#000"], [2, "#fff"]]) {
      context.lineWidth = width * screen;
      context.strokeStyle = color;
      context.beginPath();
      for (const [dx, dy] of Object.values(ARROWS)) {
        context.moveTo(x + 4 * screen * dx, y + 4 * screen * dy);
        context.lineTo(x + 16 * screen * dx, y + 16 * screen * dy);
      }
      context.stroke();
    }
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.#endDrag());
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => {
      this.usesKeys = canvas.matches(":focus-visible");
      this.draw();
    });
    canvas.addEventListener("blur", () => this.draw());
  }

  #at(event) {
    const rect = this.canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - rect.left) / rect.width) * this.size.width);
    return this.#inside(x, Math.floor(((event.clientY - rect.top) / rect.height) * this.size.height));
  }

  #inside(x, y) {
    const { width, height } = this.size;
    return { x: Math.min(Math.max(x, 0), width - 1), y: Math.min(Math.max(y, 0), height - 1) };
  }

  #down(event) {
    if (!this.view.picture || event.button === 1) return;
    this.usesKeys = false;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { from: this.#at(event), screen: [event.clientX, event.clientY], box: null };
  }

  #move(event) {
    if (!this.drag) return;
    const far = Math.hypot(event.clientX - this.drag.screen[0], event.clientY - this.drag.screen[1]);
    if (this.drag.box === null && (far < DRAG_PX || (event.pointerType === "touch" && this.tool !== "box"))) return;
    this.drag.box = sorted(this.drag.from, this.#at(event));
    this.draw();
  }

  #up(event) {
    const drag = this.drag;
    this.#endDrag();
    if (!drag) return;
    this.cross = this.#at(event);
    if (drag.box) this.on.box(drag.box);
    else if (event.button === 2 || event.shiftKey) this.on.point("not_points", drag.from.x, drag.from.y);
    else if (this.tool === "box") this.on.say("Drag from one corner of the box to the other.");
    else this.on.point(this.tool, drag.from.x, drag.from.y);
  }

  #endDrag() {
    this.drag = null;
    this.draw();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.view.picture) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const { x, y } = this.cross;
    if (key in ARROWS) this.#moveCross(ARROWS[key], event.shiftKey);
    else if (key === "+" || key === "=") this.on.point("points", x, y);
    else if (key === "-" || key === "\u2212") this.on.point("not_points", x, y);
    else if (key === "b" || (key === "Enter" && this.tool === "box")) this.#boxCorner();
    else if (key === "Enter") this.on.point(this.tool, x, y);
    else if (key === "Escape" && this.corner) this.corner = null;
    else if (key in COMMANDS) this.on.command(COMMANDS[key]);
    else return;
    event.preventDefault();
    this.usesKeys = true;
    this.draw();
  }

  #moveCross([dx, dy], isFine) {
    const step = isFine ? 1 : Math.max(1, Math.round(this.size.width * CROSS_STEP));
    this.cross = this.#inside(this.cross.x + dx * step, this.cross.y + dy * step);
    this.on.say(`${this.cross.x}, ${this.cross.y}`);
  }

  #boxCorner() {
    if (!this.corner) {
      this.corner = this.cross;
      this.on.say("First corner of a box; go to the opposite one and press the key again.");
      return;
    }
    const box = sorted(this.corner, this.cross);
    this.corner = null;
    this.on.box(box);
  }
}

// The half-open box between two pixels.
function sorted(a, b) {
  return [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x) + 1, Math.max(a.y, b.y) + 1];
}
