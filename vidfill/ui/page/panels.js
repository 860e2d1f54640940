// The lists beside the picture, and what is being done.

const DOING = {
  reading: "Reading the video",
  tracking: "Tracking",
  preview: "Preview",
  removing: "Removing",
};
const STAGES = { analyse: "looking for holes", fill: "filling", assemble: "filling and writing", check: "checking the result" };

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

// Sets a text where it has changed: what is the same is not to be read out again.
export function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// Makes the rows of a list anew where what they show has changed, so that the focus stays where it is.
const listed = new Map();
function setRows(id, items, makeRow) {
  const content = JSON.stringify(items);
  if (listed.get(id) === content) return;
  listed.set(id, content);
  const list = byId(id);
  const at = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...items.map(makeRow));
  if (at >= 0) ([...list.querySelectorAll("button")].slice(0, at + 1).pop() ?? byId("canvas")).focus();
}

// Radio buttons for the objects; keeps them, and the focus, where nothing has changed.
export function showObjects(ids, chosen, onChoose) {
  const box = byId("objects");
  const old = [...box.querySelectorAll("input")];
  if (old.map((radio) => Number(radio.value)).join() !== ids.join()) {
    box.querySelectorAll("label").forEach((label) => label.remove());
    for (const id of ids) {
      const radio = element("input", { type: "radio", name: "object", value: id });
      radio.addEventListener("change", () => onChoose(id));
      box.append(element("label", {}, radio, element("span", { textContent: `Object ${id}` })));
    }
  }
  for (const radio of box.querySelectorAll("input")) radio.checked = Number(radio.value) === chosen;
}

export function showPrompts(entries, on) {
  setRows("prompts", entries, (entry) => {
    const what = [count(entry.points, "point"), count(entry.not_points, "not it"), entry.box ? "box" : ""];
    const text = `#${entry.frame}, object ${entry.id}: ${what.filter(Boolean).join(", ")}`;
    const go = element("button", { type: "button", textContent: text });
    go.addEventListener("click", () => on.go(entry));
    const forget = element("button", { type: "button", textContent: "\u00d7", ariaLabel: `Forget ${text}` });
    forget.addEventListener("click", () => on.forget(entry));
    return element("li", {}, go, forget);
  });
}

export function showLost(track, onGo) {
  setRows("lost", track?.lost ?? [], (lost) => {
    const seen = lost.seen ? ` (last seen near ${lost.seen.x}, ${lost.seen.y} at #${lost.seen.frame})` : "";
    const todo = `Add a point or a box at #${lost.start}${seen}.`;
    const text = lost.text[0].toUpperCase() + lost.text.slice(1);
    const go = element("button", { type: "button" }, `${text}. `, element("b", { textContent: todo }));
    go.addEventListener("click", () => onGo(lost));
    return element("li", {}, go);
  });
}

export function showJob(job) {
  const isRunning = job?.state === "running";
  byId("job").hidden = !isRunning;
  if (!isRunning) return;
  const stage = STAGES[job.stage];
  const what = stage ? `${DOING[job.kind]}: ${stage}` : DOING[job.kind];
  setText("job-text", job.total ? `${what}, ${job.done} of ${job.total} frames` : `${what}\u2026`);
  const bar = byId("job-bar");
  if (job.total) {
    bar.max = job.total;
    bar.value = Math.min(job.done, job.total);
  } else {
    bar.removeAttribute("value");
  }
}

export function showWarnings(texts) {
  setRows("warnings", texts, (text) => element("li", { textContent: text }));
}

function count(list, noun) {
  return list.length ? `${list.length} ${noun}${list.length > 1 && noun === "point" ? "s" : ""}` : "";
}
