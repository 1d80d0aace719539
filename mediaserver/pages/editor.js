// The editors' page: what becomes of every master, looked at once a second.

import { ROOT, ask, chapters } from "./session.js";

const $ = (id) => document.getElementById(id);
const STATES = { queued: "waiting", running: "encoding", paused: "paused", published: "published", refused: "refused", failed: "failed", cancelled: "cancelled" };
const VERBS = { queued: "cancel", running: "cancel", paused: "cancel", published: "retry", refused: "retry", failed: "retry", cancelled: "retry" };
const KEY = `operator ${ROOT.href}`;
// Which details are open, by job, so that a new card opens them again.
const opened = new Set();

const authorised = () => {
  const key = sessionStorage.getItem(KEY);
  return key ? { Authorization: `Bearer ${key}` } : {};
};

async function look() {
  if (document.hidden) return;
  try {
    const [{ jobs, operator }, published] = await Promise.all([ask(new URL("api/jobs", ROOT), { headers: authorised() }), chapters()]);
    unlocked(operator);
    show("jobs", "no-jobs", jobs.map((job) => jobCard(job, operator)));
    show("published", "no-chapters", published.map(chapterCard));
    live("live", "yes");
  } catch (problem) {
    live(problem.message, "no");
  }
}

function unlocked(operator) {
  $("key-form").hidden = operator;
  if (!operator && sessionStorage.getItem(KEY)) {
    sessionStorage.removeItem(KEY);
    $("key-said").textContent = "That is not the key.";
  }
}

function show(list, none, cards) {
  $(none).hidden = cards.length > 0;
  // Untouched cards stay, so that a selection or the focus in them does.
  const old = $(list);
  cards.forEach((card, place) => {
    const before = old.children[place];
    if (!before) old.append(card);
    else if (before.outerHTML !== card.outerHTML) {
      const focused = before.contains(document.activeElement) && document.activeElement.dataset.focus;
      before.replaceWith(card);
      if (focused) card.querySelector(`[data-focus="${focused}"]`)?.focus();
    }
  });
  while (old.children.length > cards.length) old.lastChild.remove();
}

function jobCard(job, operator) {
  const card = element("article", { className: "card" });
  const head = element("div", { className: "card-head" });
  const badge = element("span", { className: "badge", textContent: word(job) });
  badge.dataset.state = job.state;
  head.append(element("h3", { textContent: job.name ?? job.file }), badge, element("span", { className: "muted small", textContent: facts(job) }));
  if (operator) head.append(element("span", { className: "spring" }), verb(job));
  card.append(head);
  if (["running", "paused"].includes(job.state) && job.percent != null) card.append(bar(`Progress of ${job.name ?? job.file}`, job.percent), ...rungs(job));
  if (job.sentence && job.state !== "published") {
    const problem = element("p", { className: "problem" });
    problem.dataset.state = job.state;
    problem.append(element("strong", { textContent: job.sentence }), job.hint ?? "");
    card.append(problem);
  }
  for (const note of job.notes ?? []) card.append(element("p", { className: "muted small", textContent: note }));
  const programs = [...(job.command ? [job.command.join(" ")] : job.commands ?? [])];
  if (programs.length) card.append(details(job, "commands", programs.length === 1 ? "Command" : `Last ${programs.length} commands`, programs.join("\n\n")));
  if (job.stderr_tail) card.append(details(job, "said", "What the program said", job.stderr_tail));
  return card;
}

function word(job) {
  return job.state === "running" && job.stage !== "encode" ? "working" : STATES[job.state] ?? job.state;
}

function bar(label, percent) {
  const made = element("progress", { max: 100, value: percent ?? 0 });
  made.setAttribute("aria-label", label);
  return made;
}

function rungs(job) {
  const entries = Object.entries(job.rungs ?? {});
  if (job.stage !== "encode" || entries.length < 2) return [];
  const list = element("ul", { className: "rungs" });
  for (const [name, percent] of entries) {
    const words = name.replace(/^video_/, "").replaceAll("_", " ");
    const row = element("li");
    row.append(element("span", { textContent: words }), bar(`Progress of ${words}`, percent), element("span", { textContent: `${Math.round(percent)} %` }));
    list.append(row);
  }
  return [list];
}

function details(job, kind, title, text) {
  const id = `${kind} ${job.id}`;
  const made = element("details", { className: "told", open: opened.has(id) });
  const summary = element("summary", { textContent: title });
  summary.dataset.focus = kind;
  made.append(summary, element("pre", { textContent: text }));
  made.addEventListener("toggle", () => (made.open ? opened.add(id) : opened.delete(id)));
  return made;
}

function verb(job) {
  const name = VERBS[job.state] ?? "retry";
  const button = element("button", { className: "button small", textContent: name === "retry" ? "Retry" : "Cancel" });
  button.dataset.focus = "verb";
  button.setAttribute("aria-label", `${button.textContent} ${job.name ?? job.file}`);
  button.addEventListener("click", () => change(job, name, button));
  return button;
}

async function change(job, name, button) {
  button.disabled = true;
  try {
    await ask(new URL(`api/jobs/${encodeURIComponent(job.id)}/${name}`, ROOT), { method: "POST", headers: authorised() });
    await look();
  } catch (problem) {
    live(`${problem.message} ${problem.hint}`, "no");
  } finally {
    button.disabled = false;
  }
}

function facts(job) {
  if (job.state === "queued") return job.place ? `number ${job.place} in the queue` : "";
  if (job.state !== "running") return job.state === "published" && job.chapter ? `as ${job.chapter}` : "";
  return [
    job.stage,
    job.percent == null ? null : `${Math.round(job.percent)} %`,
    job.fps ? `${Math.round(job.fps)} frames/s` : null,
    job.eta_s == null ? null : `about ${left(Math.max(1, Math.round(job.eta_s)))} left`,
  ].filter(Boolean).join(" · ");
}

function left(seconds) {
  if (seconds < 90) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

function chapterCard(chapter) {
  const card = element("article", { className: "card" });
  const head = element("div", { className: "card-head" });
  const seconds = Math.round(chapter.duration_s);
  const personal = chapter.slots.length ? `${chapter.slots.length} personal scene${chapter.slots.length > 1 ? "s" : ""}` : "no personal scene";
  head.append(
    ...(chapter.poster ? [element("img", { className: "poster", alt: "", src: new URL(`${encodeURIComponent(chapter.chapter)}/${chapter.poster}`, ROOT).href })] : []),
    element("h3", { textContent: chapter.title }),
    element("span", { className: "muted small", textContent: [chapter.chapter, `${seconds} s`, chapter.rungs.join(", "), personal].join(" · ") }),
  );
  const links = element("div", { className: "links" });
  const name = encodeURIComponent(chapter.chapter);
  links.append(
    element("a", { href: `./?chapter=${name}`, textContent: "Watch" }),
    element("a", { href: `${name}/stream.mpd`, textContent: "DASH manifest" }),
    element("a", { href: `${name}/master.m3u8`, textContent: "HLS playlist" }),
  );
  card.append(head, links);
  return card;
}

function live(words, ok) {
  if ($("live").textContent !== words) $("live").textContent = words;
  $("live").dataset.ok = ok;
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  look();
});
await look();
setInterval(look, 1000);
document.addEventListener("visibilitychange", look);
