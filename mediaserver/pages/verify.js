// Sends a video that is chosen or dropped and lists what credentials and mark tell.

import { takeFiles } from "./files.js";
import { ROOT, ask } from "./session.js";

const $ = (id) => document.getElementById(id);

async function check(file) {
  if (!file) return;
  delete document.body.dataset.state;
  $("found").replaceChildren();
  $("state").textContent = `${file.name} is being looked at …`;
  try {
    const found = await ask(new URL("verify", ROOT), { method: "POST", body: file });
    $("state").textContent = found.made_from_a_face ? "This shows a scene that was made from a photo of a face." : "Nothing shows that this was made from a photo of a face.";
    $("found").replaceChildren(...found.sentences.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  } catch (problem) {
    $("state").textContent = `${problem.message} ${problem.hint ?? ""}`;
  }
  document.body.dataset.state = "done";
}

takeFiles($("video"), $("drop"), check);
