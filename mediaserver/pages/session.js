// A viewer's session: consent, photo, state and the end, as the server's addresses offer them.

// Our files lie in assets/<hash>/ below the root, wherever a proxy has put that.
export const ROOT = new URL("../../", import.meta.url);
const KEPT = `session ${ROOT.href}`;

// What went wrong, in the server's words.
export class Problem extends Error {
  constructor(status, { sentence, hint, verdict } = {}) {
    super(sentence ?? "The server cannot be reached.");
    this.status = status;
    this.hint = hint ?? "Check the connection and try again.";
    this.verdict = verdict;
  }
}

export async function ask(url, options = {}) {
  let answer;
  try {
    answer = await fetch(url, options);
  } catch {
    throw new Problem(0);
  }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, body);
  return body;
}

export const consentText = () => ask(new URL("consent?lang=en", ROOT));
export const chapters = async () => (await ask(new URL("api/chapters", ROOT))).chapters;

export class Session {
  #events = null;

  constructor(address) {
    this.url = new URL(address.replace(/^\//, ""), ROOT);
  }

  static async begin(consent, boxes) {
    const body = JSON.stringify({ consent: consent.sha256, boxes });
    const headers = { "Content-Type": "application/json" };
    const { session } = await ask(new URL("sessions", ROOT), { method: "POST", headers, body });
    sessionStorage.setItem(KEPT, session);
    return new Session(session);
  }

  // The session of this tab, if it still lives; so a reload loses nothing.
  static async kept() {
    const address = sessionStorage.getItem(KEPT);
    if (!address) return null;
    const session = new Session(address);
    try {
      await session.state();
      return session;
    } catch (problem) {
      if ([404, 410].includes(problem.status)) session.forget();
      return null;
    }
  }

  state() { return ask(this.url); }

  photo(file) {
    return ask(new URL("photo", this.url), { method: "PUT", headers: { "Content-Type": file.type || "application/octet-stream" }, body: file });
  }

  chapter(id) { return new URL(`${encodeURIComponent(id)}/`, this.url); }

  // Call `told` with every state, and `gone` once when the session has ended.
  follow(told, gone) {
    this.unfollow();
    const events = this.#events = new EventSource(new URL("events", this.url));
    const ended = () => { this.unfollow(); this.forget(); gone(); };
    events.onmessage = ({ data }) => told(JSON.parse(data));
    events.addEventListener("gone", ended);
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED) return;
      this.state().then(() => setTimeout(() => this.#events === events && this.follow(told, gone), 3000), (problem) => {
        if ([404, 410].includes(problem.status)) ended();
      });
    };
  }

  unfollow() {
    this.#events?.close();
    this.#events = null;
  }

  async delete() {
    this.unfollow();
    try {
      await ask(this.url, { method: "DELETE" });
    } catch (problem) {
      if (![404, 410].includes(problem.status)) throw problem;
    }
    this.forget();
  }

  forget() { sessionStorage.removeItem(KEPT); }
}
