// Content Credentials of the viewer's own scene, read and verified in this browser: nobody else is asked.

import { ROOT } from "./session.js";

const LIBRARY = "./lib/c2pa/index.js";
const WASM = new URL("lib/c2pa/c2pa.wasm", import.meta.url).href;
const AI = ["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"];
let reading = null;

// Return sentences about the finished scene at `url`; throws an Error whose message is for people.
export async function credentialsOf(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error("The finished scene is not there yet.");
  const [library, scene] = await Promise.all([ready(), answer.blob()]);
  const reader = await library.reader.fromBlob("video/mp4", scene);
  if (!reader) return ["No Content Credentials are in the scene."];
  try {
    return sentences(await reader.manifestStore());
  } finally {
    await reader.free();
  }
}

function ready() {
  reading ??= open().catch((error) => { reading = null; throw error; });
  return reading;
}

async function open() {
  const [{ createC2pa }, anchors] = await Promise.all([import(LIBRARY), fetch(new URL("trust/authority.pem", ROOT))]);
  const trust = anchors.ok ? { userAnchors: await anchors.text() } : {};
  return createC2pa({ wasmSrc: WASM, settings: { trust, verify: { verifyTrust: true } } });
}

function sentences(store) {
  const active = store.manifests[store.active_manifest];
  if (!["Valid", "Trusted"].includes(store.validation_state)) return ["The Content Credentials do not hold: the scene was changed after it was signed."];
  const trusted = store.validation_state === "Trusted" ? "this server's own authority stands behind it" : "who that is, is not known here";
  const actions = active.assertions.filter(({ label }) => label.startsWith("c2pa.actions")).flatMap(({ data }) => data.actions);
  const ai = actions.some(({ digitalSourceType }) => AI.some((term) => digitalSourceType?.endsWith(`/${term}`)));
  const mark = active.assertions.find(({ label }) => label.startsWith("c2pa.soft-binding"))?.data.blocks[0].value;
  return [
    `Nothing was changed since “${active.signature_info.issuer}” signed; ${trusted}.`,
    `“${active.title}”, made with ${active.claim_generator_info[0].name}; ${ai ? "parts of the pictures were made by AI" : "nothing is said of AI"}.`,
    ...(mark ? [`Invisible mark of this render: ${mark}.`] : []),
    "Checked in this browser; nobody else was asked.",
  ];
}
