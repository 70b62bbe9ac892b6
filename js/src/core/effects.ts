// The direct effect of every line on the answer: only what is written at the explained position has one; no DOM.
import type { HeadsAnswer } from "./answers.js";
import { EdgeKind, type Graph } from "./graph.js";

/** Signed effects [edge] of an answer about this target; null where it is about another one. */
export function edgeEffects(g: Graph, target: number, answer: HeadsAnswer | null): Float32Array | null {
  if (!answer?.effect_on || answer.effect_on.pos !== target) return null;
  const known = made.get(answer);
  if (known?.g === g) return known.effects;
  const effects = new Float32Array(g.n_edges);
  const row = new Map<number, number>(); // of an attention part in the map
  g.meta.parts.forEach(({ kind }, k) => {
    if (kind === "attention") row.set(k, row.size);
  });
  const whole = new Map(answer.others.part.map((part, i) => [part, answer.others.effect[i]]));
  for (let e = 0; e < g.n_edges; e++) {
    const kind = g.kind[e];
    if (kind === EdgeKind.carried || (kind === EdgeKind.read ? g.source[e] : g.entered[e]) % g.T !== target) continue;
    const at = row.get(g.part[e]);
    effects[e] = at === undefined ? (whole.get(g.part[e]) ?? 0) : answer.maps.by_key[at * g.T + (g.source[e] % g.T)];
  }
  made.set(answer, { g, effects });
  return effects;
}

const made = new WeakMap<HeadsAnswer, { g: Graph; effects: Float32Array }>();

/** What is for the answer and what is against it, over all that was written at its position. */
export function totals({ table, others }: HeadsAnswer): { plus: number; minus: number } {
  let [plus, minus] = [0, 0];
  for (const x of [...table.effect, ...others.effect]) {
    if (x !== null && x > 0) plus += x;
    else minus += x ?? 0;
  }
  return { plus, minus };
}
