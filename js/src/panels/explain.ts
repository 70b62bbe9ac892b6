// The "?" of a panel: its formulas with the numbers of the case at hand; no DOM.
import type { Answer } from "../core/answers.js";
import { updateOf } from "../core/join.js";
import { percent, visible } from "../core/names.js";
import { formula, minus } from "../words.js";
import { figure, signedText } from "./table.js";

const LISTED = 4;

export function explain(answer: Answer): string[] {
  const out: string[] = [];
  const { effect_on } = answer;
  if (answer.kind === "state" && answer.lens) {
    const { text, score, p, change } = answer.lens;
    if (text.length) out.push(formula.lens(figure(score[0]), percent(p?.[0] ?? 0), visible(text[0]), answer.normalised));
    const moved = change?.findIndex((n) => n) ?? -1;
    if (change && moved >= 0) out.push(formula.change(visible(text[moved]), moved + (change[moved] ?? 0), moved));
    if (answer.parts.share.length) out.push(formula.share(sum(answer.parts.share)));
  }
  if (answer.kind === "edge") {
    const { share } = answer.heads;
    out.push(formula.share(percent(answer.share)), formula.heads(sum(share), percent(answer.share)));
  }
  if (answer.kind === "head") {
    if (answer.attention !== null) out.push(formula.maps(percent(answer.attention), percent(answer.share)));
  }
  if (answer.kind === "neuron") {
    out.push(formula.neuron(signedText(answer.value), percent(answer.share)));
    if (answer.gate !== null && answer.up !== null)
      out.push(formula.gated(signedText(answer.gate), signedText(answer.up), signedText(answer.value)));
  }
  if (answer.kind === "token" && answer.next.text.length)
    out.push(formula.next(percent(answer.next.p?.[0] ?? 0), visible(answer.next.text[0])));
  if (answer.kind === "mlp" || answer.kind === "mixer" || answer.kind === "carried")
    out.push(formula.share(percent(answer.share)));
  const effect = answer.kind === "edge" ? answer.heads.effect[0] : "effect" in answer ? answer.effect : null;
  if (effect_on && effect !== null) out.push(formula.effect(signedText(effect), effectTokens(effect_on)));
  const update = updateOf(answer);
  if (update?.promoted.text.length)
    out.push(formula.update(visible(update.promoted.text[0]), signedText(update.promoted.score[0])));
  return out;
}

function sum(shares: number[]): string {
  const listed = shares.slice(0, LISTED).map(percent);
  return [...listed, ...(shares.length > LISTED ? ["…"] : [])].join(" + ");
}

/** "·Mary", or "·Mary minus that of ·John" */
export function effectTokens({ token, foil }: NonNullable<Answer["effect_on"]>): string {
  return foil ? minus(visible(token.text), visible(foil.text)) : visible(token.text);
}
