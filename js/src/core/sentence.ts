// What the answer is and where it came from, in sentences about this prompt; no DOM.
import * as words from "../words.js";
import { EdgeKind, type Graph, placeOf } from "./graph.js";
import { layerName, nextToken, tokenText } from "./names.js";
import { roundPercent } from "./numbers.js";
import type { Routes } from "./routes.js";
import type { Item } from "./select.js";

/** A noun lights up its item in the picture, and opens it. */
export type Piece = string | { noun: string; item: Item };

const SURE = 0.5;
const NAMED = 3; // tokens
const WORTH = 0.03; // of the state: less is not named
const MOSTLY = 0.6; // of a line by one head

/** One list of pieces a sentence. */
export function sentences(g: Graph, routes: Routes): Piece[][] {
  return [answer(g, routes), origin(g, routes), ended(routes), mainRoute(g, routes)].filter((pieces) => pieces.length > 0);
}

function answer(g: Graph, { target }: Routes): Piece[] {
  const [first, second] = [nextToken(g, target, 0), nextToken(g, target, 1)];
  const item: Item = { kind: "node", node: (g.S - 1) * g.T + target };
  if (!first) return [];
  const noun = { noun: first.text, item };
  if (first.p >= SURE || !second) return [noun, words.comesNext(roundPercent(first.p))];
  return [noun, words.leads(roundPercent(first.p)), { noun: second.text, item }, words.follows(roundPercent(second.p))];
}

function origin(g: Graph, { input_share }: Routes): Piece[] {
  const most = Array.from(input_share, (share, pos) => ({ share, pos }))
    .filter(({ share }) => share >= WORTH)
    .sort((a, b) => b.share - a.share)
    .slice(0, NAMED);
  return most.flatMap(({ share, pos }, i): Piece[] => [
    (i ? (i === most.length - 1 ? words.and : words.comma) : "") + words.shareFrom(roundPercent(share), i === 0),
    { noun: tokenText(g, pos), item: { kind: "token", pos } },
    i === most.length - 1 ? "." : "",
  ]);
}

function ended({ ended }: Routes): Piece[] {
  return ended.mixer >= WORTH ? [words.endedInMixers(roundPercent(ended.mixer))] : [];
}

/** The heaviest line from one word to another. */
function mainRoute(g: Graph, routes: Routes): Piece[] {
  const edge = mainLine(g, routes);
  if (edge < 0) return [words.noOtherWord];
  const [from, to] = [placeOf(g, g.source[edge]).pos, placeOf(g, g.entered[edge])];
  const noun = `${tokenText(g, from)} → ${tokenText(g, to.pos)}`;
  const most = g.share_sum[edge] > 0 ? g.share_max[edge] / g.share_sum[edge] : 0;
  const by = (most >= MOSTLY ? words.mostlyBy : words.severalFirst)(g.head[edge], roundPercent(g.share_sum[edge]));
  return [words.mainRoute, { noun, item: { kind: "edge", edge } }, words.inLayer(layerName(g, to.state)), by];
}

export function mainLine(g: Graph, { order, flow }: Routes): number {
  let best = -1;
  for (const e of order) {
    if (g.kind[e] !== EdgeKind.attention || g.source[e] % g.T === g.entered[e] % g.T) continue;
    if (best < 0 || flow[e] > flow[best]) best = e;
  }
  return best >= 0 && flow[best] >= WORTH ? best : -1;
}
