// The viewer's page: choose a chapter, watch it, and put one's own face into its scene.

import { Camera, hasCamera } from "./camera.js";
import { credentialsOf } from "./credentials.js";
import { takeFiles } from "./files.js";
import { Player, chosenPlayer } from "./player.js";
import { Problem, ROOT, Session, chapters, consentText } from "./session.js";

const $ = (id) => document.getElementById(id);
const video = $("video");
const player = new Player(video, $("still"), chosenPlayer(location.search), showPlayerProblem);
const now = { list: [], chapter: null, consent: null, session: null, status: null, personal: false, uploading: false, retaking: false };
const camera = new Camera($("seen"));
const takesFiles = document.body.dataset.photoFileInput === "on";

// --- the film ---

async function listChapters() {
  const before = JSON.stringify(now.list);
  try {
    now.list = await chapters();
  } catch (problem) {
    if (!now.chapter) showEmpty(problem.message);
    return;
  }
  if (!now.list.length) return showEmpty("No chapter is published yet. It appears here as soon as one is.");
  if (JSON.stringify(now.list) !== before) $("chapters").replaceChildren(...now.list.map(chapterButton));
  if (!now.chapter) {
    const asked = new URLSearchParams(location.search).get("chapter");
    await choose(now.list.find(({ chapter }) => chapter === asked) ?? now.list.find(({ slots }) => slots.length) ?? now.list[0]);
  }
}

function chapterButton(chapter) {
  const button = element("button", { type: "button", textContent: chapter.title });
  button.setAttribute("aria-current", String(chapter.chapter === now.chapter?.chapter));
  button.onclick = () => choose(chapter, true);
  return button;
}

async function choose(chapter, play = false) {
  now.chapter = chapter;
  $("empty").hidden = true;
  $("player-problem").hidden = true;
  $("title").textContent = chapter.title;
  $("facts").textContent = [clock(chapter.duration_s), chapter.rungs.join(", ")].join(" · ");
  document.title = `${chapter.title} – Watch`;
  // A poster is opaque: it would hide what lies behind a transparent chapter.
  if (chapter.poster && !chapter.alpha) video.poster = new URL(`${encodeURIComponent(chapter.chapter)}/${chapter.poster}`, ROOT).href;
  else video.removeAttribute("poster");
  $("chapters").replaceChildren(...now.list.map(chapterButton));
  drawTimeline();
  showPanel();
  now.personal = hasPhoto();
  await open(() => player.open(base(), { play, alpha: alpha() }));
}

// Below which address the manifests lie that this viewer gets now.
function base() {
  const { chapter } = now.chapter;
  return showsOwn() ? now.session.chapter(chapter) : new URL(`${encodeURIComponent(chapter)}/`, ROOT);
}

// A transparent chapter without a scene has nothing of the viewer's.
function showsOwn() {
  return now.personal && !(now.chapter.alpha && !now.chapter.slots.length);
}

// What is special about a transparent chapter; a viewer's own scenes are opaque.
function alpha() {
  return showsOwn() ? null : now.chapter.alpha;
}

// Change between the shared and the personal manifest without losing the place.
async function playPersonal(personal) {
  if (personal === now.personal || !now.chapter) return;
  now.personal = personal;
  await open(() => player.switchTo(base(), alpha()));
}

async function open(start) {
  try {
    await start();
  } catch (error) {
    showPlayerProblem(error.message);
  }
}

function drawTimeline() {
  const { slots, markers, duration_s } = now.chapter;
  const bar = $("timeline");
  bar.hidden = !slots.length && !markers.length;
  $("legend").hidden = $("jump").hidden = !slots.length;
  bar.querySelectorAll(".slot, .marker").forEach((old) => old.remove());
  for (const { at_s, title } of markers) {
    const mark = element("button", { type: "button", className: "marker", title: `${title} (${clock(at_s)})` });
    mark.setAttribute("aria-label", mark.title);
    mark.style.left = `${(100 * at_s) / duration_s}%`;
    mark.onclick = () => player.seek(at_s);
    bar.append(mark);
  }
  for (const slot of slots) {
    const mark = element("div", { className: "slot" });
    mark.dataset.slot = slot.slot;
    mark.style.left = `${(100 * slot.start_s) / duration_s}%`;
    mark.style.width = `${(100 * slot.duration_s) / duration_s}%`;
    bar.append(mark);
  }
  const spans = slots.map(({ start_s, duration_s: s }) => `${clock(start_s)} – ${clock(start_s + s)}`);
  $("legend").textContent = `The scene that can be yours: ${spans.join(", ")}`;
}

function jump() {
  player.seek(Math.max(0, now.chapter.slots[0].start_s - 2));
  video.play().catch(() => {});
}

video.addEventListener("timeupdate", () => {
  if (now.chapter) $("played").style.width = `${(100 * video.currentTime) / now.chapter.duration_s}%`;
});

// --- the viewer's own scene ---

function hasPhoto() {
  return Boolean(now.session) && ["captured", "ready", "failed"].includes(now.status?.state);
}

async function showConsent() {
  try {
    now.consent = await consentText();
  } catch (problem) {
    return showVerdict(problem);
  }
  $("consent-text").textContent = now.consent.text;
  $("consent-text").lang = now.consent.lang;
  $("boxes").replaceChildren(...now.consent.boxes.map(({ id, text }) => {
    const box = element("input", { type: "checkbox", id: `box-${id}`, name: id });
    const label = element("label", { className: "box" });
    label.append(box, element("span", { textContent: text }));
    return label;
  }));
  allowBegin();
}

function ticked() {
  return Object.fromEntries([...$("boxes").querySelectorAll("input")].map(({ name, checked }) => [name, checked]));
}

function allowBegin() {
  const boxes = Object.values(ticked());
  $("begin").disabled = !boxes.length || boxes.includes(false);
}

async function begin(event) {
  event.preventDefault();
  $("begin").disabled = true;
  try {
    follow(await Session.begin(now.consent, ticked()));
    $("gone").hidden = true;
    (hasCamera() ? $("camera-start") : $("photo"))?.focus();
  } catch (problem) {
    showVerdict(problem);
    await showConsent();
  }
}

function follow(session) {
  now.session = session;
  now.status = { state: "consented", slots: [] };
  showPanel();
  session.follow(told, gone);
}

function told(status) {
  now.status = status;
  showPanel();
  playPersonal(hasPhoto());
}

async function startCamera() {
  $("verdict").hidden = true;
  $("camera-start").disabled = true;
  try {
    await camera.start();
  } catch (problem) {
    showVerdict(problem);
  }
  $("camera-start").disabled = false;
  showPanel();
  if (camera.on) $("camera-take").focus();
}

async function sendPhoto(file) {
  if (!file || !now.session || now.uploading) return;
  camera.stop();
  now.uploading = true;
  $("verdict").hidden = true;
  showPanel();
  try {
    const { state, slots } = await now.session.photo(file);
    now.status = { state, slots };
    now.retaking = false;
  } catch (problem) {
    showVerdict(problem);
  }
  now.uploading = false;
  if (takesFiles) $("photo").value = "";
  showPanel();
  await playPersonal(hasPhoto());
}

// The player leaves the personal addresses first: from the delete on they answer 410.
async function deleteAll() {
  const { session } = now;
  $("delete").disabled = true;
  try {
    await playPersonal(false);
    await session.delete();
    gone("Everything of yours is deleted.");
  } catch (problem) {
    showVerdict(problem);
  }
  $("delete").disabled = false;
}

function retake() {
  now.retaking = true;
  showPanel();
  if (hasCamera()) startCamera();
}

function gone(words = "Your session has ended, and everything of it is deleted.") {
  camera.stop();
  now.retaking = false;
  now.session = now.status = null;
  $("verdict").hidden = true;
  $("boxes").querySelectorAll("input").forEach((box) => { box.checked = false; });
  allowBegin();
  $("gone").textContent = words;
  $("gone").hidden = false;
  showPanel();
  playPersonal(false);
}

// --- the pin: how the scene was made ---

// The viewer's own slots of this chapter, the one that is on screen or comes next at the front.
function mySlots() {
  const ends = (mine) => { const slot = now.chapter.slots.find((one) => one.slot === mine.slot); return slot ? slot.start_s + slot.duration_s : 0; };
  const mine = (now.status?.slots ?? []).filter(({ chapter }) => chapter === now.chapter?.chapter);
  return [...mine.filter((slot) => ends(slot) > video.currentTime), ...mine];
}

async function pin() {
  const open = $("credentials").hidden;
  $("pin").setAttribute("aria-expanded", String(open));
  $("credentials").hidden = !open;
  if (open) await showCredentials();
}

async function showCredentials() {
  const [slot] = mySlots(), { session, chapter } = now;
  const box = $("credentials"), of = `${session.url}${slot.slot}`;
  if (slot.state !== "ready") box.dataset.of = "";
  if (slot.state === "failed") return tellCredentials("none", ["Your scene could not be made, so there is nothing to sign."]);
  if (slot.state !== "ready") return tellCredentials("signing", ["Your scene is being signed: its Content Credentials are here as soon as it is finished."]);
  if (box.dataset.of === of && ["reading", "read"].includes(box.dataset.state)) return;
  box.dataset.of = of;
  tellCredentials("reading", ["The Content Credentials of your scene are being checked …"]);
  try {
    tellCredentials("read", await credentialsOf(new URL(`${encodeURIComponent(slot.slot)}.mp4`, session.chapter(chapter.chapter))));
  } catch (problem) {
    tellCredentials("failed", [`The Content Credentials could not be checked: ${problem.message}`]);
  }
}

function tellCredentials(state, told) {
  const list = element("ul", {});
  list.append(...told.map((textContent) => element("li", { textContent })));
  $("credentials").dataset.state = state;
  $("credentials").replaceChildren(list);
}

// --- what is shown ---

function showPanel() {
  const state = now.status?.state ?? "none";
  const photo = (hasPhoto() && !now.retaking) || now.uploading, slots = now.chapter?.slots.length ?? 0;
  document.body.dataset.state = state;
  $("consent-step").hidden = Boolean(now.session) || !slots;
  $("photo-step").hidden = !now.session || photo;
  $("scene-step").hidden = !now.session || !photo;
  $("seen").hidden = $("camera-take").hidden = !camera.on;
  $("camera-start").hidden = camera.on;
  $("end").hidden = !now.session;
  $("no-slot").hidden = Boolean(slots) || Boolean(now.session) || !now.chapter;
  const done = { consent: now.session, photo: hasPhoto(), scene: state === "ready" };
  for (const step of document.querySelectorAll(".steps li")) step.toggleAttribute("data-done", Boolean(done[step.dataset.step]));
  showScene(state);
}

function showScene(state) {
  const mine = (now.status?.slots ?? []).filter(({ chapter }) => chapter === now.chapter?.chapter);
  const share = mine.length ? mine.reduce((sum, { progress }) => sum + progress, 0) / mine.length : 0;
  $("state").textContent = words(state, mine);
  $("progress").hidden = !mine.some(({ state: s }) => ["waiting", "rendering"].includes(s)) || now.uploading;
  $("progress").value = share;
  $("mine").hidden = state !== "ready" || !now.chapter?.slots.length;
  $("retake").hidden = now.uploading;
  $("pin").hidden = !now.personal || !mine.length;
  if ($("pin").hidden) $("credentials").hidden = true;
  else if (!$("credentials").hidden) showCredentials();
  else if (mySlots()[0].state !== "ready") $("credentials").dataset.of = "";
  for (const mark of document.querySelectorAll(".timeline .slot")) {
    mark.dataset.state = mine.find(({ slot }) => slot === mark.dataset.slot)?.state ?? "";
  }
}

function words(state, slots) {
  if (now.uploading) return "Your photo is being looked at …";
  if (state === "ready") return "Your scene is ready. It is in your film only.";
  if (state === "failed") return "Your scene could not be made; the film shows its own picture. Another photo may help.";
  const wait = Math.max(0, ...slots.map(({ eta_s }) => eta_s ?? 0));
  const time = wait ? ` About ${wait} s left.` : "";
  if (slots.some((slot) => slot.state === "rendering")) return `Your scene is being made.${time} The film plays meanwhile.`;
  return slots.length ? `Your photo is fine. Your scene is next in line.${time}` : "Your photo is fine.";
}

function showVerdict(problem) {
  const box = $("verdict");
  box.dataset.verdict = problem.verdict ?? "";
  box.replaceChildren(element("strong", { textContent: problem.message }), problem instanceof Problem ? problem.hint : "");
  box.hidden = false;
  if (problem.status === 410) gone();
}

function showPlayerProblem(text) {
  $("player-problem").textContent = `The film cannot be played: ${text}`;
  $("player-problem").hidden = false;
}

function showEmpty(text) {
  $("empty").textContent = text;
  $("empty").hidden = false;
}

function clock(seconds) {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

// --- start ---

$("insecure").hidden = window.isSecureContext;
$("camera").hidden = !hasCamera();
$("no-camera").hidden = hasCamera() || !window.isSecureContext;
if (takesFiles) takeFiles($("photo"), $("drop"), sendPhoto);
else $("drop").remove();
$("boxes").addEventListener("change", allowBegin);
$("consent-form").addEventListener("submit", begin);
$("jump").addEventListener("click", jump);
$("mine").addEventListener("click", jump);
$("camera-start").addEventListener("click", startCamera);
$("camera-take").addEventListener("click", async () => sendPhoto(await camera.take()));
$("retake").addEventListener("click", retake);
$("pin").addEventListener("click", pin);
$("delete").addEventListener("click", deleteAll);

showPanel();
await showConsent();
const kept = await Session.kept();
if (kept) follow(kept);
await listChapters();
setInterval(() => { if (!document.hidden) listChapters(); }, 5000);
