// The facts of a thing in the picture: title, rows of label and value, and the sentence that is spoken; no DOM.

import * as words from "../words.js";
import { EdgeKind, type Graph, placeOf } from "./graph.js";
import { edgeName, nextToken, nodeName, stateName, tokenName, visible } from "./names.js";
import { percent, roundPercent, signedText } from "./numbers.js";
import type { Routes } from "./routes.js";
import type { Item } from "./select.js";

/** The lens' top token of a state, where it is known. */
export interface Peek {
  text(state: number, pos: number): { text: string; p: number } | null;
}

export interface Fact {
  label: string;
  value: string;
  mono?: boolean;
}

/** The figures of an answer that there are. */
export function figureRows(...figures: [label: string, value: number | null | undefined, text: (x: number) => string][]): Fact[] {
  return figures.flatMap(([label, value, text]) => (value == null ? [] : [{ label, value: text(value) }]));
}

export const effectRows = ({ effect }: { effect: number | null }) => figureRows([words.directEffect, effect, signedText]);

/** A weight that is none of an edge's usual figures. */
export interface OwnFigure {
  name: string;
  value(edge: number): string;
}

export interface Facts {
  name: string; // short, for tooltip and crumbs
  figures: string; // one line of numbers
  rows: Fact[];
  sentence: string;
}

export function factsOf(g: Graph, routes: Routes, peek: Peek | null, item: Item, own: OwnFigure | null = null): Facts {
  const facts =
    item.kind === "token"
      ? tokenFacts(g, routes, item.pos)
      : item.kind === "edge"
        ? edgeFacts(g, routes, item.edge, own)
        : nodeFacts(g, routes, peek, item.node);
  return { ...facts, sentence: [facts.name, facts.figures].filter(Boolean).join(", ") };
}

type Unspoken = Omit<Facts, "sentence">;

function tokenFacts(g: Graph, routes: Routes, pos: number): Unspoken {
  const { id, raw, bytes, role, char, part } = g.meta.tokens;
  const rows: Fact[] = [
    { label: words.facts.inputShare, value: percent(routes.input_share[pos]) },
    { label: words.facts.id, value: String(id[pos]) },
    { label: words.facts.raw, value: visible(raw[pos] ?? ""), mono: true },
    { label: words.facts.bytes, value: hexPairs(bytes[pos] ?? ""), mono: true },
  ];
  const fragment = part?.[pos];
  const whole = char?.[pos];
  if (fragment && whole) rows.push({ label: words.facts.character, value: words.facts.part(whole, fragment[0], fragment[1]) });
  if (role?.[pos]) rows.push({ label: words.facts.role, value: role[pos] as string });
  const next = nextToken(g, pos, 0);
  if (next) rows.push({ label: words.facts.predicts, value: `${next.text} ${roundPercent(next.p)}`, mono: true });
  return {
    name: tokenName(g, pos),
    figures: `${words.facts.inputShare} ${percent(routes.input_share[pos])}`,
    rows,
  };
}

function nodeFacts(g: Graph, routes: Routes, peek: Peek | null, node: number): Unspoken {
  const { state, pos, part } = placeOf(g, node);
  const flow = percent(routes.node_flow[node]);
  if (part >= 0) {
    const share = shareOfSquare(g, node, state);
    return {
      name: nodeName(g, node),
      figures: `${words.live.share(percent(share))}, ${words.live.flow(flow)}`,
      rows: [
        { label: words.facts.share, value: percent(share) },
        { label: words.facts.flow, value: flow },
        { label: words.facts.to, value: stateName(g, state) },
      ],
    };
  }
  const rows: Fact[] = [{ label: words.facts.flow, value: flow }];
  const seen = peek?.text(state, pos);
  if (seen)
    rows.push({
      label: words.facts.says,
      value: `${visible(seen.text)}${Number.isNaN(seen.p) ? "" : ` ${roundPercent(seen.p)}`}`,
      mono: true,
    });
  const next = nextToken(g, pos, 0);
  if (next) rows.push({ label: words.facts.predicts, value: `${next.text} ${roundPercent(next.p)}`, mono: true });
  const says = seen ? ` → ${visible(seen.text)}` : "";
  return {
    name: nodeName(g, node),
    figures: `${words.live.flow(flow)}${says}`,
    rows,
  };
}

function edgeFacts(g: Graph, routes: Routes, e: number, own: OwnFigure | null): Unspoken {
  const from = placeOf(g, g.source[e]);
  const to = placeOf(g, g.entered[e]);
  const kind = g.kind[e];
  if (kind === EdgeKind.read || kind === EdgeKind.part) {
    const square = kind === EdgeKind.read ? g.entered[e] : g.source[e];
    return nodeFacts(g, routes, null, square);
  }
  const share = percent(g.share_sum[e]);
  const flow = percent(routes.flow[e]);
  const rows: Fact[] = [
    { label: words.facts.share, value: share },
    { label: words.facts.flow, value: flow },
  ];
  const said = own ? `${own.name} ${own.value(e)}, ` : "";
  if (own) rows.push({ label: own.name, value: own.value(e) });
  if (kind === EdgeKind.attention) {
    rows.push(
      { label: words.facts.head, value: words.facts.headOf(g.head[e], percent(g.share_max[e])) },
      { label: words.facts.from, value: `${stateName(g, from.state)} · ${tokenName(g, from.pos)}`, mono: true },
      { label: words.facts.to, value: `${stateName(g, to.state)} · ${tokenName(g, to.pos)}`, mono: true },
    );
    return {
      name: edgeName(g, e),
      figures: `${said}${words.live.share(share)} (H${g.head[e]} ${percent(g.share_max[e])}), ${words.live.flow(flow)}`,
      rows,
    };
  }
  rows.push(
    { label: words.facts.from, value: stateName(g, from.state) },
    { label: words.facts.to, value: stateName(g, to.state) },
  );
  return {
    name: edgeName(g, e),
    figures: `${words.live.share(share)}, ${words.live.flow(flow)}`,
    rows,
  };
}

function shareOfSquare(g: Graph, square: number, state: number): number {
  for (let e = g.rows[g.S - 1 - state]; e < g.rows[g.S - state]; e++) if (g.source[e] === square) return g.share_sum[e];
  return 0;
}

function hexPairs(hex: string): string {
  return (hex.match(/../g) ?? []).join(" ");
}
