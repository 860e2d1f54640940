// Connects the picture, the timeline and the panels with the server, which holds the state.

import { ApiError, decoded, get, picture, send } from "./api.js";
import { byId, setText, showJob, showLost, showObjects, showPrompts, showWarnings } from "./panels.js";
import { PromptBook } from "./prompts.js";
import { Stage } from "./stage.js";
import { Timeline } from "./timeline.js";

const POLL_MS = 300;
const MAX_PICTURES = 32;

const book = new PromptBook();
const pictures = new Map(); // address -> picture, the last ones used
let server = null; // the last state from the server
let track = null;
let frame = 0;
let object = 1;
let extraObject = null; // chosen, but without prompts yet
let view = "mask";
let isPlaying = false;
let isLoading = false;
let needsLoad = false;
let isCommitting = false;
let needsCommit = false;
let polling = null;

const stage = new Stage(byId("canvas"), {
  point: (kind, x, y) => addPrompt(kind, [x, y]),
  box: (box) => addPrompt("box", box),
  command: (name) => COMMANDS[name](),
  say,
});
const timeline = new Timeline(byId("position"), byId("strip"), (to) => goTo(to));

const COMMANDS = {
  back: () => goTo(frame - 1),
  forward: () => goTo(frame + 1),
  secondBack: () => goTo(frame - perSecond()),
  secondOn: () => goTo(frame + perSecond()),
  play: () => play(!isPlaying),
  view: () => setView(view === "mask" ? "source" : "mask"),
  undo: () => book.undo() && commit(),
  redo: () => book.redo() && commit(),
  forget: () => book.at(frame).some((entry) => entry.id === object) && forget({ id: object, frame }),
};

function say(text) {
  setText("status", text);
}

function complain(error) {
  byId("alert").textContent = error?.message ?? "";
  byId("alert").hidden = !error;
  if (error) play(false);
}

// Runs what a button does, and shows errors of the server.
async function attempt(work) {
  try {
    complain(null);
    await work();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    complain(error);
  }
}

function perSecond() {
  return Math.max(1, Math.round(server?.source.rate ?? 1));
}

// --- from the server ------------------------------------------------------------------------------------------------

async function refresh() {
  await accept(await get("state"));
}

async function accept(state) {
  const before = server;
  server = state;
  if (!before?.is_ready && state.is_ready) opened();
  if (state.track && state.track.number !== before?.track?.number) track = await get("track");
  showJob(state.job);
  if (!before && state.job?.state === "failed") complain(new ApiError(state.job.error.message));
  if (before?.job?.state === "running" && state.job.state !== "running") ended(state.job);
  else if (before?.preview?.done.length !== state.preview?.done.length) load();
  render();
  clearTimeout(polling);
  if (state.job?.state === "running") polling = setTimeout(() => attempt(refresh), POLL_MS);
}

function opened() {
  const { source } = server;
  book.load(server.prompts);
  byId("shadow").checked = server.track?.shadow ?? server.shadow;
  object = book.objectIds[0] ?? 1;
  stage.setSize(source.width, source.height, source.aspect);
  timeline.set({ nFrames: source.n_frames, cuts: source.cuts });
  byId("source").textContent =
    `${source.name} \u00b7 ${source.width}\u00d7${source.height} \u00b7 ${source.n_frames} frames \u00b7 ` +
    `${source.duration_s.toFixed(1)} s`;
  document.title = `${source.name} \u2013 vidfill`;
  byId("preview-count").max = Math.min(source.max_preview, source.n_frames);
  load();
}

function ended(job) {
  if (job.state === "failed") complain(new ApiError(job.error.message));
  if (job.state === "cancelled") say("Cancelled.");
  if (job.state === "done" && job.kind === "preview") {
    setView("filled");
    goTo(server.preview.start);
    play(true);
  }
  if (job.state === "done" && job.kind === "removing") {
    setView("result");
    say(`Wrote ${server.result.name}.`);
  }
  load();
}

// --- from the user --------------------------------------------------------------------------------------------------

function addPrompt(kind, value) {
  play(false);
  if (view !== "mask") setView("mask");
  book.add(object, frame, kind, value);
  extraObject = null;
  commit();
}

function forget({ id, frame: at }) {
  book.forget(id, at);
  commit();
}

// Sends the prompts to the server, one version after another; a refused one is dropped.
async function commit() {
  render();
  say("Selecting\u2026");
  needsCommit = true;
  if (isCommitting) return;
  isCommitting = true;
  while (needsCommit) {
    needsCommit = false;
    await attempt(keepPrompts);
  }
  isCommitting = false;
  load();
}

async function keepPrompts() {
  try {
    await accept(await send("PUT", "prompts", book.content));
  } catch (error) {
    book.load(server.prompts);
    render();
    throw error;
  }
}

async function start(what, content) {
  play(false);
  await attempt(async () => accept(await send("POST", what, content)));
}

function setView(to) {
  view = to;
  if (to !== "mask") say("");
  for (const radio of byId("views").querySelectorAll("input")) radio.checked = radio.value === to;
  load();
}

function goTo(to) {
  if (!server?.is_ready) return;
  frame = Math.min(Math.max(to, 0), server.source.n_frames - 1);
  timeline.goTo(frame, `frame ${frame} of ${server.source.n_frames}`);
  load();
}

async function play(wanted) {
  if (wanted === isPlaying) return;
  isPlaying = wanted;
  byId("play").textContent = wanted ? "Stop" : "Play";
  byId("play").setAttribute("aria-pressed", String(wanted));
  while (isPlaying) {
    const due = performance.now() + 1000 / server.source.rate;
    goTo(nextFrame());
    while (isPlaying && (isLoading || performance.now() < due)) await new Promise(requestAnimationFrame);
  }
}

function nextFrame() {
  const { preview, source } = server;
  const [first, stop] = view === "filled" && preview ? [preview.start, preview.stop] : [0, source.n_frames];
  return frame + 1 < stop && frame >= first ? frame + 1 : first;
}

// --- pictures -------------------------------------------------------------------------------------------------------

// Loads what is to be shown; of the requests that come meanwhile only the last is loaded next.
async function load() {
  if (!server?.is_ready) return;
  needsLoad = true;
  if (isLoading) return;
  isLoading = true;
  try {
    while (needsLoad) {
      needsLoad = false;
      await attempt(loadOnce);
    }
  } finally {
    isLoading = false;
  }
}

async function loadOnce() {
  const at = frame;
  const hasMask = view === "mask";
  const [shown, found] = await Promise.all([kept(address(at)), hasMask ? get(`masks/${at}`) : null]);
  const mask = found?.image ? await decoded(found.image) : null;
  const entries = hasMask ? book.at(at) : [];
  stage.show({ picture: shown.bitmap, mask, entries, object, ids: book.objectIds, isStale: found?.is_stale ?? false });
  setText("time", `${shown.time.toFixed(2)} s \u00b7 #${at} of ${server.source.n_frames}`);
  if (found && !isPlaying) describe(found);
  setText("hint", hint(found, entries));
  byId("canvas").setAttribute("aria-label", `Picture, frame ${at} of ${server.source.n_frames}`);
}

function address(at) {
  if (view === "filled" && server.preview?.done.includes(at)) return `api/filled/${at}?${server.preview.number}`;
  if (view === "result" && server.result) return `api/result/${at}?${server.result.number}`;
  return `api/frames/${at}`;
}

async function kept(from) {
  const known = pictures.get(from) ?? (await picture(from));
  pictures.delete(from);
  pictures.set(from, known);
  if (pictures.size > MAX_PICTURES) {
    const [oldest, old] = pictures.entries().next().value;
    pictures.delete(oldest);
    old.bitmap.close();
  }
  return known;
}

// What to do next.
function hint(found, entries) {
  if (!found) return "";
  if (book.isEmpty) return "Click on what is to go. Where a click is not enough, choose Box and drag one round it.";
  if (found.origin === "selection" && entries.length) {
    return "Click on what is missing; choose \u201cNot it\u201d and click on what is too much. Then track.";
  }
  return "";
}

function describe(found) {
  const texts = found.objects.map(({ id, confidence, is_sure: isSure, reason }) => {
    if (confidence < 0) return `Object ${id}: ${reason || "not known here"}`;
    const sure = !isSure ? (found.origin === "track" ? "lost" : "not sure") : `${Math.round(100 * confidence)} % sure`;
    return `Object ${id}: ${sure}${reason ? `, ${reason}` : ""}`;
  });
  if (found.is_stale && found.origin === "track") texts.push("Prompts have changed: track again");
  say(texts.length ? `${texts.join(". ")}.` : "");
}

// --- everything around the picture ----------------------------------------------------------------------------------

function render() {
  const isReady = server.is_ready;
  const isBusy = server.job?.state === "running";
  const isFresh = isTrackFresh();
  const nLost = isFresh ? track.lost.length : 0;
  const entries = book.entries();
  const ids = [...new Set([...book.objectIds, object, extraObject ?? object])].sort((a, b) => a - b);
  showObjects(ids, object, chooseObject);
  showPrompts(entries, { go: (entry) => visit(entry.id, entry.frame), forget });
  showLost(isFresh ? track : null, (lost) => visit(lost.object, lost.start, lost.seen));
  showWarnings([...server.warnings, ...(server.job?.kind === "removing" ? server.job.warnings : [])]);
  timeline.set({
    track,
    isStale: !isFresh,
    prompted: [...new Set(entries.map((entry) => entry.frame))],
    preview: server.preview,
  });
  byId("legend").hidden = !track;
  byId("undo").disabled = book.done.length === 0;
  byId("redo").disabled = book.undone.length === 0;
  byId("new-object").disabled = !book.objectIds.includes(object);
  byId("track").disabled = !isReady || isBusy || book.isEmpty;
  byId("preview").disabled = isBusy || !isFresh;
  byId("remove").disabled = isBusy || !isFresh || (nLost > 0 && !byId("allow-lost").checked);
  byId("allow-lost-line").hidden = nLost === 0;
  setText("track-text", trackText(nLost));
  setText("remove-text", removeText(isFresh));
  byId("views").querySelector('[value="filled"]').disabled = !server.preview?.done.length;
  byId("views").querySelector('[value="result"]').disabled = !server.result;
  byId("get-result").hidden = !server.result?.is_file;
  const result = resultText(server.result);
  setText("result-text", result);
  byId("result-text").hidden = !result;
  byId("get-masks").hidden = !isFresh;
  byId("get-prompts").hidden = book.isEmpty;
  byId("shell").hidden = book.isEmpty;
  setText("prompts-file", server.prompts_file);
  setText("command", command());
}

function resultText(result) {
  const lines = [];
  if (typeof result?.invented === "number") {
    const percent = Math.round(100 * result.invented);
    const shown = percent === 0 && result.invented > 0 ? "Less than 1" : percent;
    lines.push(`${shown} % of the hole is shown by no frame and was painted.`);
  }
  if (result?.licence_notice) lines.push(`Licence: ${result.licence_notice}.`);
  return lines.join(" ");
}

function removeText(isFresh) {
  if (!isFresh) return "Track first.";
  const dilate = chosenDilate();
  return `Writes ${server.source.output}, with the mask grown ${dilate === null ? "as its thickness asks for" : `by ${dilate} px`}.`;
}

function isTrackFresh() {
  return Boolean(server.track) && !server.track.is_stale && server.track.shadow === byId("shadow").checked;
}

function trackText(nLost) {
  if (!server.track) return "Follows the objects through the video, both ways from every prompt.";
  if (!isTrackFresh()) return "Something has changed since: track again.";
  if (nLost) return "Lost where the strip is hatched. Go there, add a prompt, and track again:";
  return "Every object is known on every frame.";
}

// Pixels by which the mask is grown; null for automatic growth.
function chosenDilate() {
  const { value } = byId("dilate");
  return value === "" ? null : Number(value);
}

function command() {
  const dilate = chosenDilate();
  const shadow = byId("shadow").checked ? " --shadow" : "";
  const lost = allowsLost() ? " --allow-lost" : "";
  return `${server.command}${dilate === null ? "" : ` --dilate ${dilate}`}${shadow}${lost}`;
}

function allowsLost() {
  return byId("allow-lost").checked && !byId("allow-lost-line").hidden;
}

function chooseObject(id) {
  object = id;
  render();
  load();
}

// Goes to where a prompt is, or is needed.
function visit(id, at, seen = null) {
  object = id;
  setView("mask");
  goTo(at);
  render();
  if (seen) stage.pointAt(seen.x, seen.y);
}

function onClick(id, work) {
  byId(id).addEventListener("click", work);
}

for (const name of ["undo", "redo", "back", "forward", "play"]) onClick(name, COMMANDS[name]);
onClick("new-object", () => {
  extraObject = Math.max(0, ...book.objectIds) + 1;
  chooseObject(extraObject);
  byId("objects").querySelector("input:checked").focus();
});
onClick("track", () => start("track", { shadow: byId("shadow").checked }));
onClick("preview", () => {
  const stop = Math.min(frame + Number(byId("preview-count").value), server.source.n_frames);
  start("preview", { start: frame, stop, dilate: chosenDilate() });
});
onClick("remove", () => start("remove", { dilate: chosenDilate(), allow_lost: allowsLost() }));
onClick("cancel", () => start("cancel"));
onClick("copy", async () => {
  await navigator.clipboard.writeText(command());
  say("Copied.");
});
for (const radio of byId("tools").querySelectorAll("input")) {
  radio.addEventListener("change", () => stage.setTool(radio.value));
}
for (const radio of byId("views").querySelectorAll("input")) {
  radio.addEventListener("change", () => setView(radio.value));
}
for (const id of ["dilate", "allow-lost", "shadow"]) byId(id).addEventListener("input", render);
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
  event.preventDefault();
  (event.shiftKey ? COMMANDS.redo : COMMANDS.undo)();
});

attempt(refresh);
