// The analysis on show as a file that load_json in Python brings back (lmtt_widget/saved.py); no DOM.
import type { Store } from "../store/store.js";
import { toBytes } from "../wire.js";

const SHOWN = [
  "target",
  "threshold",
  "encoding",
  "reading",
  "renormalise",
  "normalise",
  "token",
  "foil",
  "selection",
  "pins",
  "view",
] as const;

export function analysisText(store: Store): string {
  const shown = Object.fromEntries(SHOWN.map((name) => [name, store.traits[name].peek()]));
  const messages = (["graph", "peek", "detail", "before"] as const).map((name) => [
    name,
    base64(toBytes(store.messages[name].peek())),
  ]);
  const { prompt, edits } = store.traits;
  const prompts = [{ prompt: prompt.peek(), edits: edits.peek(), ...Object.fromEntries(messages) }];
  return JSON.stringify({ format: "lmtt_widget analysis", version: "1.0", shown, at: 0, prompts });
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
