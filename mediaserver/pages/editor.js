// The editors' page: what becomes of every master, looked at once a second.

import { ROOT, ask, chapters } from "./session.js";

const $ = (id) => document.getElementById(id);
const STATES = { queued: "waiting", running: "encoding", published: "published", failed: "failed", cancelled: "cancelled" };

async function look() {
  if (document.hidden) return;
  try {
    const [{ jobs }, published] = await Promise.all([ask(new URL("api/jobs", ROOT)), chapters()]);
    show("jobs", "no-jobs", jobs.map(jobCard));
    show("published", "no-chapters", published.map(chapterCard));
    live("live", "yes");
  } catch (problem) {
    live(problem.message, "no");
  }
}

function show(list, none, cards) {
  $(none).hidden = cards.length > 0;
  // Untouched cards stay, so that a selection or the focus in them does.
  const old = $(list);
  cards.forEach((card, place) => {
    if (!old.children[place]) old.append(card);
    else if (old.children[place].outerHTML !== card.outerHTML) old.children[place].replaceWith(card);
  });
  while (old.children.length > cards.length) old.lastChild.remove();
}

function jobCard(job) {
  const card = element("article", { className: "card" });
  const head = element("div", { className: "card-head" });
  const badge = element("span", { className: "badge", textContent: STATES[job.state] ?? job.state });
  badge.dataset.state = job.state;
  head.append(element("h3", { textContent: job.name ?? job.file }), badge, element("span", { className: "muted small", textContent: facts(job) }));
  card.append(head);
  if (job.state === "running") {
    const bar = element("progress", { max: 100, value: job.percent ?? 0 });
    bar.setAttribute("aria-label", `Progress of ${job.name ?? job.file}`);
    card.append(bar);
  }
  if (job.sentence && job.state !== "published") {
    const problem = element("p", { className: "problem" });
    problem.append(element("strong", { textContent: job.sentence }), job.hint ?? "");
    card.append(problem);
  }
  for (const note of job.notes ?? []) card.append(element("p", { className: "muted small", textContent: note }));
  return card;
}

function facts(job) {
  if (job.state !== "running") return job.state === "published" && job.chapter ? `as ${job.chapter}` : "";
  return [
    job.stage,
    job.percent == null ? null : `${Math.round(job.percent)} %`,
    job.fps ? `${Math.round(job.fps)} frames/s` : null,
    job.eta_s == null ? null : `about ${Math.max(1, Math.round(job.eta_s))} s left`,
  ].filter(Boolean).join(" · ");
}

function chapterCard(chapter) {
  const card = element("article", { className: "card" });
  const head = element("div", { className: "card-head" });
  const seconds = Math.round(chapter.duration_s);
  const personal = chapter.slots.length ? `${chapter.slots.length} personal scene${chapter.slots.length > 1 ? "s" : ""}` : "no personal scene";
  head.append(
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

await look();
setInterval(look, 1000);
document.addEventListener("visibilitychange", look);
