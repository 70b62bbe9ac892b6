// The formulas behind the figures that several kinds of answers show, with the numbers of the case at hand.
import { formula, minus, ratherThan } from "../words.js";
import type { Answer } from "./answer.js";
import type { Update } from "./answers.js";
import { visible } from "./names.js";
import { percent, signedText } from "./numbers.js";

const LISTED = 4;

/** "12% + 3.1% + …" */
export function sum(shares: number[]): string {
  const listed = shares.slice(0, LISTED).map(percent);
  return [...listed, ...(shares.length > LISTED ? ["…"] : [])].join(" + ");
}

export function shareLine(share: string): string[] {
  return [formula.share(share)];
}

export function effectLine({ effect_on }: Answer, effect: number | null | undefined): string[] {
  return effect_on && effect != null ? [formula.effect(signedText(effect), effectTokens(effect_on))] : [];
}

/** What is computed for a part: its share, its effect, its update. */
export function usualLines(answer: Answer & { share: number; effect: number | null }, update: Update | null = null): string[] {
  return [...shareLine(percent(answer.share)), ...effectLine(answer, answer.effect), ...updateLine(update)];
}

export function updateLine(update: Update | null): string[] {
  const first = update?.promoted;
  return first?.text.length ? [formula.update(visible(first.text[0]), signedText(first.score[0]))] : [];
}

/** "·Mary", or "·Mary minus that of ·John" */
export function effectTokens({ token, foil }: NonNullable<Answer["effect_on"]>): string {
  return foil ? minus(visible(token.text), visible(foil.text)) : visible(token.text);
}

/** "·Mary", or "·Mary rather than ·John" */
export function answerTokens({ token, foil }: NonNullable<Answer["effect_on"]>): string {
  return foil ? ratherThan(visible(token.text), visible(foil.text)) : visible(token.text);
}
