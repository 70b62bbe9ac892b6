// Which edges reach the target: flow along paths, strength at every threshold, coverage (METHODS.md 2.0).
import type { HeadsAnswer } from "./answers.js";
import { EdgeKind, type Graph, goesOn, placeOf } from "./graph.js";

/** Traits that some encodings read. */
export interface Settings {
  reading: "max" | "sum"; // of heads
  renormalise: boolean;
  answer?: HeadsAnswer | null; // to the question that the encoding asks
}
export const USUAL: Settings = { reading: "max", renormalise: false };

/** What of an edge is held against the threshold. */
export interface Measure {
  /** [edge], a share; null: the edge's flow to the target */
  passing(g: Graph, settings: Settings): Float32Array | null;
  /** the threshold when none is given */
  automatic(g: Graph, routes: Routes): number;
}

export const EXPLAINED = 0.8; // of the flow that tokens can have, carried by the lines drawn when the threshold is automatic
export const FEWEST = 8; // of these lines
const MOST = 1000;
export const BY_FLOW: Measure = { passing: () => null, automatic: automaticThreshold };

export interface Routes {
  target: number; // pos
  flow: Float32Array; // [edge]
  node_flow: Float64Array; // [node]
  strength: Float32Array; // [edge]; drawn iff strength > threshold
  node_strength: Float32Array; // [node]; of the strongest edge that leaves it upward: drawn iff > threshold
  sorted: number; // edges stronger than this are in `order`; drawnCount() adds the others when they are wanted
  order: Uint32Array; // strongest first
  attention: Uint32Array; // [order + 1]; how many of the first i edges are attention edges
  input_share: Float64Array; // [pos]
  ended: { mixer: number; truncated: number; constants: number; "no parts": number };
  automatic: number; // the threshold when none is given
  kind: Uint8Array; // the graph's
  range: [number, number]; // the smallest and the largest strength of an attention edge; both 0 where none reaches the target
  top_weight: number; // the largest weight of an attention edge that reaches the target: the full line width
}

/** One scan from the target down: every edge's flow and strength, sorted once. */
export function trace(g: Graph, target: number, measure: Measure = BY_FLOW, settings: Settings = USUAL): Routes {
  const { T, S, n_edges, n_nodes, source, entered, kind, share_sum } = g;
  const flow = new Float32Array(n_edges);
  const strength = new Float32Array(n_edges);
  const node_flow = new Float64Array(n_nodes);
  const node_strength = new Float32Array(n_nodes);
  const top = (S - 1) * T + target;
  node_flow[top] = 1;
  node_strength[top] = Number.POSITIVE_INFINITY;
  const own = measure.passing(g, settings);
  const bits = new Uint32Array(strength.buffer);
  const bins = new Uint32Array(1 << 13); // edges, then attention edges, by exponent and upper mantissa of their strength
  let top_weight = 0;
  let [low, high] = [Number.POSITIVE_INFINITY, 0];
  const scan = (from: number, to: number) => {
    for (let e = from; e < to; e++) {
      const to = entered[e];
      const reached = node_strength[to];
      if (reached <= 0 && node_flow[to] <= 0) continue;
      const f = share_sum[e] * node_flow[to];
      flow[e] = f;
      node_flow[source[e]] += f;
      const weight = own === null ? flow[e] : kind[e] === EdgeKind.read ? Number.POSITIVE_INFINITY : own[e];
      const s = Math.min(weight, reached);
      if (!(s > 0)) continue;
      strength[e] = s;
      if (s > node_strength[source[e]]) node_strength[source[e]] = s;
      const bin = bits[e] >>> 19;
      bins[bin]++;
      if (kind[e] !== EdgeKind.attention) continue;
      bins[4096 + bin]++;
      if (weight > top_weight) top_weight = weight;
      if (s < low) low = strength[e];
      if (s > high) high = strength[e];
    }
  };
  for (let row = 0; row < S; row++) scan(g.rows[row], g.rows[row + 1]);
  const routes: Routes = {
    target,
    flow,
    node_flow,
    strength,
    node_strength,
    sorted: Number.POSITIVE_INFINITY,
    order: new Uint32Array(),
    attention: new Uint32Array(1),
    input_share: node_flow.slice(0, T),
    ended: endedByCause(g, node_flow),
    automatic: 0,
    kind,
    range: high > 0 ? [low, high] : [0, 0],
    top_weight,
  };
  sortAbove(routes, firstPart(bins, mostLines(g)));
  routes.automatic = measure.automatic(g, routes);
  return routes;
}

const FIRST = 4000; // edges sorted at once; of a long prompt's hundreds of thousands the first picture needs no more

/** The strength above which the first edges are sorted: FIRST of them, and enough of attention for the automatic threshold. */
function firstPart(bins: Uint32Array, budget: number): number {
  let [n, n_attention] = [0, 0];
  for (let bin = 4095; bin > 0; bin--) {
    n += bins[bin];
    n_attention += bins[4096 + bin];
    if (n >= FIRST && n_attention > budget) return new Float32Array(Uint32Array.of((bin << 19) - 1).buffer)[0];
  }
  return 0;
}

/** Sorts the edges stronger than `least`. */
function sortAbove(routes: Routes, least: number): void {
  const order = strongestFirst(routes.strength, least);
  const attention = new Uint32Array(order.length + 1);
  for (let i = 0; i < order.length; i++) attention[i + 1] = attention[i] + (routes.kind[order[i]] === EdgeKind.attention ? 1 : 0);
  routes.order = order;
  routes.attention = attention;
  routes.sorted = least;
}

/** At most so many attention lines explain a target: what can still be seen through. */
function mostLines(g: Graph): number {
  const layers = new Set(g.meta.states.map(({ layer }) => layer).filter((layer) => layer !== null));
  return Math.min(MOST, 80 + 2 * layers.size + 2 * g.T);
}

/** The flow that could reach tokens: all of it but what ends in mixers, constants and states nothing enters. */
export function reachable({ input_share, ended }: Routes): number {
  return input_share.reduce((a, b) => a + b, 0) + ended.truncated;
}

/** The threshold with the fewest lines that carry EXPLAINED of what tokens can have. */
function automaticThreshold(g: Graph, routes: Routes): number {
  return thresholdOf(g, routes, EXPLAINED, FEWEST, mostLines(g));
}

/** The threshold with the fewest attention lines, of `fewest` to `most`, that carry so much of what tokens can have. */
export function thresholdOf(g: Graph, routes: Routes, wanted: number, fewest: number, most: number): number {
  const { strength, order } = routes;
  const lines: number[] = []; // strengths of the strongest most + 1
  let n = 0;
  for (; n < order.length && lines.length <= most; n++)
    if (g.kind[order[n]] === EdgeKind.attention) lines.push(strength[order[n]]);
  const edges = order.slice(0, n).sort();
  const at = (k: number) => lines[k] ?? 0;
  const flow = wanted * reachable(routes);
  let [low, high] = [fewest, most];
  while (low < high) {
    const middle = (low + high) >> 1; // coverage grows with the lines
    const threshold = at(middle);
    const carried = threshold > 0 ? carriedBy(g, routes, threshold, edges) : coverage(g, routes, 0);
    if (carried >= flow) high = middle;
    else low = middle + 1;
  }
  return at(low);
}

function endedByCause(g: Graph, node_flow: Float64Array): Routes["ended"] {
  const { S, T, truncated, ended } = g;
  const out = { mixer: 0, truncated: 0, constants: 0, "no parts": 0 };
  for (let n = T; n < S * T; n++) {
    out.truncated += node_flow[n] * truncated[n];
    out["no parts"] += node_flow[n] * ended[n];
  }
  g.squares.forEach((k, q) => {
    const part = g.meta.parts[k];
    if (goesOn(part)) return;
    let sum = 0;
    for (let t = 0; t < T; t++) sum += node_flow[(S + q) * T + t];
    out[part.kind === "mixer" ? "mixer" : "constants"] += sum;
  });
  return out;
}

/** How many edges of `routes.order` are drawn at a threshold: those with strength > threshold. */
export function drawnCount(routes: Routes, threshold: number): number {
  if (threshold < routes.sorted) sortAll(routes);
  let lo = 0;
  let hi = routes.order.length;
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (routes.strength[routes.order[mid]] > threshold) lo = mid + 1;
    else hi = mid;
  }
  return lo;
}

/** How much of the target's flow reaches the embedding through drawn edges only. */
export function coverage(g: Graph, routes: Routes, threshold: number): number {
  const n = drawnCount(routes, threshold);
  return carriedBy(g, routes, threshold, n < g.n_edges / 32 ? routes.order.slice(0, n).sort() : null);
}

let mass = new Float64Array(); // [node]; zeros between two uses: a long prompt's is megabytes, which each slider step would ask for

/** The same of some edges, or all, in the graph's order, as far as they are drawn. */
function carriedBy(g: Graph, { target, strength }: Routes, threshold: number, edges: Uint32Array | null): number {
  const { T, S, n_nodes, n_edges, source, entered, share_sum } = g;
  if (mass.length < n_nodes) mass = new Float64Array(n_nodes);
  mass[(S - 1) * T + target] = 1;
  const n = edges?.length ?? n_edges;
  for (let i = 0; i < n; i++) {
    const e = edges ? edges[i] : i;
    if (strength[e] > threshold) mass[source[e]] += share_sum[e] * mass[entered[e]];
  }
  let sum = 0;
  for (let t = 0; t < T; t++) sum += mass[t];
  mass.fill(0, 0, n_nodes);
  return sum;
}

/** An edge into a square weighs what the square itself does. */
export function throughSquares(g: Graph, weight: Float32Array): Float32Array {
  const square = new Float32Array(g.n_nodes);
  for (let e = 0; e < weight.length; e++) {
    if (g.kind[e] === EdgeKind.part) square[g.source[e]] = weight[e];
    else if (g.kind[e] === EdgeKind.read) weight[e] = square[g.entered[e]];
  }
  return weight;
}

/** The drawn edges on the way down from a node, top row first. */
export function routeBelow(g: Graph, routes: Routes, threshold: number, node: number): number[] {
  const reached = new Uint8Array(g.n_nodes);
  reached[node] = 1;
  const out: number[] = [];
  for (let e = g.rows[g.S - 1 - placeOf(g, node).state]; e < g.n_edges; e++) {
    if (!reached[g.entered[e]] || !(routes.strength[e] > threshold)) continue;
    reached[g.source[e]] = 1;
    out.push(e);
  }
  return out;
}

/** Which positions a drawn edge touches: both of its ends are drawn nodes. */
export function busyColumns(g: Graph, routes: Routes, threshold: number): Uint8Array {
  const busy = new Uint8Array(g.T);
  const rows = g.n_nodes / g.T;
  for (let row = 0; row < rows; row++) busyInRow(routes.node_strength, row * g.T, g.T, threshold, busy);
  return busy;
}

function busyInRow(strength: Float32Array, at: number, n: number, threshold: number, busy: Uint8Array): void {
  for (let t = 0; t < n; t++) if (strength[at + t] > threshold) busy[t] = 1;
}

/** Indices of the numbers above `least` (0 or more), largest first: a radix sort on the float bits, which order like integers. Stable. */
export function strongestFirst(strength: Float32Array, least = 0): Uint32Array {
  const bits = new Uint32Array(strength.buffer, strength.byteOffset, strength.length);
  let n = 0;
  for (let e = 0; e < strength.length; e++) if (strength[e] > least) n++;
  let from = new Uint32Array(n);
  let to = new Uint32Array(n);
  for (let e = 0, i = 0; e < strength.length; e++) if (strength[e] > least) from[i++] = e;
  const count = new Uint32Array(2048);
  for (const shift of [0, 11, 22]) {
    count.fill(0);
    for (let i = 0; i < n; i++) count[2047 - ((bits[from[i]] >>> shift) & 2047)]++;
    for (let b = 0, sum = 0; b < 2048; b++) {
      const c = count[b];
      count[b] = sum;
      sum += c;
    }
    for (let i = 0; i < n; i++) to[count[2047 - ((bits[from[i]] >>> shift) & 2047)]++] = from[i];
    [from, to] = [to, from];
  }
  return from;
}

/** Sorts what is not sorted yet: when there is time, so that a moved slider need not wait for it. */
export function sortAll(routes: Routes): void {
  if (routes.sorted > 0) sortAbove(routes, 0);
}

/** Slider position in [0, 1] <-> threshold, logarithmic over the strengths there are; 0 draws everything. */
export interface Scale {
  low: number;
  high: number;
}

export const STEPS = 200; // slider positions; the value is quantised, so a small move does not re-lay the picture

/** `reach`: the slider goes at least so far. */
export function thresholdScale({ range: [low, most] }: Routes, reach = 0): Scale {
  const high = Math.min(1, Math.max(most, reach));
  if (!(high > 0)) return { low: 1e-4, high: 1 };
  return { low: Math.max(Math.min(low, high / 10), high * 1e-5), high };
}

export function thresholdAt(scale: Scale, step: number): number {
  if (step <= 0) return 0;
  const t = scale.low * (scale.high / scale.low) ** ((step - 1) / (STEPS - 1));
  return Math.min(Number(t.toPrecision(3)), 0.999);
}

export function stepAt(scale: Scale, threshold: number): number {
  if (threshold <= 0) return 0;
  const x = Math.log(threshold / scale.low) / Math.log(scale.high / scale.low);
  return Math.max(0, Math.min(STEPS, Math.round(1 + x * (STEPS - 1))));
}
