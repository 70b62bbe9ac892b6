// The prompt as it reads: every token's own characters, whose words they are, and passages that nothing comes from; no DOM.
import type { Graph } from "./graph.js";
import { escaped } from "./names.js";

export interface Passage {
  from: number;
  to: number; // exclusive
  role: string | null; // where someone else begins to speak
  is_idle: boolean; // far from any word that matters
}

const BESIDE = 8; // words that stay around one that matters, so that it is read in its sentence
const SHORTEST = 24; // a passage of fewer tokens saves no room

/** The passages of a prompt in order; `matters` [pos] is 1 where something comes from. */
export function passages(g: Graph, matters: ArrayLike<number>): Passage[] {
  const near = new Uint8Array(g.T);
  for (let t = 0; t < g.T; t++) if (matters[t]) near.fill(1, Math.max(0, t - BESIDE), t + BESIDE + 1);
  const { role } = g.meta.tokens;
  const out: Passage[] = [];
  for (let from = 0, to = 0; from < g.T; from = to) {
    for (to = from + 1; to < g.T && near[to] === near[from] && role[to] === role[from]; ) to++;
    const is_idle = !near[from] && to - from >= SHORTEST;
    const speaker = from === 0 || role[from] !== role[from - 1] ? role[from] : null;
    const last = out.at(-1);
    if (last && !is_idle && !last.is_idle && !speaker) last.to = to;
    else out.push({ from, to, role: speaker, is_idle });
  }
  return out;
}

/** A token as it stands in the text: spaces as spaces, line ends with their mark; what is no character as it is named. */
export function reads(g: Graph, pos: number): string {
  const { bytes, text, special } = g.meta.tokens;
  return characters(special[pos] ? "" : (bytes[pos] ?? "")) ?? escaped(text[pos] ?? "");
}

const NAMED: Record<string, string> = { "\n": "⏎\n", "\r": "␍", "\t": "⇥\t" };

function characters(hex: string): string | null {
  if (!hex) return null;
  try {
    const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return [...text].map((c) => NAMED[c] ?? escaped(c)).join("");
  } catch {
    return null; // a piece of a character
  }
}
