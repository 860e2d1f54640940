// The lists beside the picture, and the running job.

const JOBS = { reading: "Reading the video", tracking: "Tracking", preview: "Preview", removing: "Removing" };
const STAGES = { analyse: "looking for holes", fill: "filling", assemble: "filling and writing", check: "checking the result" };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function button(properties, onclick, ...children) {
  return element("button", { type: "button", onclick, ...properties }, ...children);
}

export function byId(id) {
  return document.getElementById(id);
}

// Sets a text if it has changed, so that screen readers do not read the same text again.
export function setText(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

// Rebuilds the rows of a list if their content has changed; the focus stays where it is.
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

// Radio buttons for the objects; kept, with the focus, if nothing has changed.
export function showObjects(ids, chosen, onChoose) {
  const box = byId("objects");
  const old = [...box.querySelectorAll("input")];
  if (old.map((radio) => Number(radio.value)).join() !== ids.join()) {
    box.querySelectorAll("label").forEach((label) => label.remove());
    for (const id of ids) {
      const radio = element("input", { type: "radio", name: "object", value: id, onchange: () => onChoose(id) });
      box.append(element("label", {}, radio, element("span", { textContent: `Object ${id}` })));
    }
  }
  for (const radio of box.querySelectorAll("input")) radio.checked = Number(radio.value) === chosen;
}

export function showPrompts(entries, on) {
  setRows("prompts", entries, (entry) => {
    const what = [count(entry.points, "point"), count(entry.not_points, "not it"), entry.box ? "box" : ""];
    const text = `#${entry.frame}, object ${entry.id}: ${what.filter(Boolean).join(", ")}`;
    const go = button({ textContent: text }, () => on.go(entry));
    const forget = button({ textContent: "\u00d7", ariaLabel: `Forget ${text}` }, () => on.forget(entry));
    return element("li", {}, go, forget);
  });
}

export function showLost(track, onGo) {
  setRows("lost", track?.lost ?? [], (lost) => {
    const seen = lost.seen ? ` (last seen near ${lost.seen.x}, ${lost.seen.y} at #${lost.seen.frame})` : "";
    const todo = `Add a point or a box at #${lost.start}${seen}.`;
    const text = lost.text[0].toUpperCase() + lost.text.slice(1);
    return element("li", {}, button({}, () => onGo(lost), `${text}. `, element("b", { textContent: todo })));
  });
}

export function showJob(job) {
  const isRunning = job?.state === "running";
  byId("job").hidden = !isRunning;
  if (!isRunning) return;
  const stage = STAGES[job.stage];
  const what = stage ? `${JOBS[job.kind]}: ${stage}` : JOBS[job.kind];
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
