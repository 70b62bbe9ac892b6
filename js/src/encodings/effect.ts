// The lines of the flow, as wide as what they add directly to the answer's logit, coloured for and against it.
import { edgeEffects, totals } from "../core/effects.js";
import { answerTokens } from "../core/formula.js";
import { EdgeKind, type Graph } from "../core/graph.js";
import { figure, signedText } from "../core/numbers.js";
import { BY_FLOW, type Routes, type Settings } from "../core/routes.js";
import type { Encoding } from "../paint/encoding.js";

const words = {
  none: "no direct effect",
  minus: "▼ against",
  plus: "▲ for",
  waiting: "Direct effects are asked of Python; until they are here, lines are grey.",
  said: (total: string, tokens: string, plus: string, minus: string) =>
    `${tokens}: ${total} logits, ${plus} for it, ${minus} against it, added directly at the explained position.`,
  fact: "direct effect",
};

const SMALL = 0.01; // of the largest effect: less has no colour

/** The effect of every line, none where Python has not said them of this target, and the largest on the routes. */
function read(g: Graph, { target, flow }: Routes, { answer = null }: Settings): { effects: Float32Array; most: number } {
  const effects = edgeEffects(g, target, answer) ?? new Float32Array();
  return { effects, most: effects.reduce((top, x, e) => (flow[e] > 0 ? Math.max(top, Math.abs(x)) : top), 0) };
}

const effect: Encoding = {
  ...BY_FLOW,
  name: "effect",
  label: "effect",
  title: "What each line adds directly to the answer, for and against",
  automaticTitle: "The lines of the flow",
  asks: "heads",
  place: 2,
  weight(g, routes, _, settings) {
    const { effects, most } = read(g, routes, settings);
    const weight = new Float32Array(g.n_edges);
    if (most > 0) for (const [e, x] of effects.entries()) weight[e] = (Math.abs(x) / most) * routes.top_weight;
    return weight;
  },
  hues: (g, routes, settings) => {
    const { effects } = read(g, routes, settings);
    const most = effects.reduce((top, x) => Math.max(top, Math.abs(x)), 0);
    const of = (e: number) => (!(Math.abs(effects[e]) > SMALL * most) ? 0 : effects[e] > 0 ? 2 : 1);
    const squares = new Map<number, number>(); // of the nodes that have an effect
    for (const [e, x] of effects.entries()) if (x && g.kind[e] === EdgeKind.part) squares.set(g.source[e], of(e));
    return {
      names: [words.none, words.minus, words.plus],
      of: (_, e) => of(e),
      square: (_, node) => squares.get(node) ?? 0,
      colour: (palette, hue) => [palette.residual, palette.minus, palette.plus][hue],
    };
  },
  scale(g, routes, settings) {
    const { most } = read(g, routes, settings);
    return (weight) => figure((weight / (routes.top_weight || 1)) * most);
  },
  legend({ answer }) {
    if (!answer?.effect_on || answer.total === null) return words.waiting;
    const { plus, minus } = totals(answer);
    return words.said(signedText(answer.total), answerTokens(answer.effect_on), signedText(plus), signedText(minus));
  },
  fact: () => words.fact,
  says: (g, routes, settings, e) => signedText((g.kind[e] !== EdgeKind.carried && read(g, routes, settings).effects[e]) || null),
};
export default effect;
