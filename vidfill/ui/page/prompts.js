// The prompts for each object on each frame, in the format of `--prompts` files, with undo.

const MAX_UNDO = 200;

function frameOf(entry) {
  return Number(entry.time.slice(1)); // the server gives every time as "#frame"
}

export class PromptBook {
  constructor() {
    this.content = { schema_version: 1, objects: [] };
    this.undone = [];
    this.done = [];
  }

  load(content) {
    this.content = structuredClone(content);
  }

  get isEmpty() {
    return this.content.objects.length === 0;
  }

  get objectIds() {
    return this.content.objects.map((object) => object.id);
  }

  // [{id, frame, points, not_points, box}], by frame, then object.
  entries() {
    const empty = { points: [], not_points: [], box: null };
    return this.content.objects
      .flatMap(({ id, prompts }) => prompts.map((entry) => ({ id, frame: frameOf(entry), ...empty, ...entry })))
      .sort((a, b) => a.frame - b.frame || a.id - b.id);
  }

  at(frame) {
    return this.entries().filter((entry) => entry.frame === frame);
  }

  // kind: "points" or "not_points" with [x, y], "box" with [x0, y0, x1, y1], which replaces an earlier one.
  add(id, frame, kind, value) {
    this.change((content) => {
      let object = content.objects.find((one) => one.id === id);
      if (!object) {
        object = { id, prompts: [] };
        content.objects.push(object);
        content.objects.sort((a, b) => a.id - b.id);
      }
      let entry = object.prompts.find((one) => frameOf(one) === frame);
      if (!entry) {
        entry = { time: `#${frame}` };
        object.prompts.push(entry);
      }
      if (kind === "box") entry.box = value;
      else (entry[kind] ??= []).push(value);
    });
  }

  forget(id, frame) {
    this.change((content) => {
      const object = content.objects.find((one) => one.id === id);
      if (object) object.prompts = object.prompts.filter((entry) => frameOf(entry) !== frame);
      content.objects = content.objects.filter((one) => one.prompts.length > 0);
    });
  }

  change(edit) {
    this.done.push(structuredClone(this.content));
    if (this.done.length > MAX_UNDO) this.done.shift();
    this.undone = [];
    edit(this.content);
  }

  undo() {
    return this.#step(this.done, this.undone);
  }

  redo() {
    return this.#step(this.undone, this.done);
  }

  #step(from, to) {
    if (from.length === 0) return false;
    to.push(this.content);
    this.content = from.pop();
    return true;
  }
}
