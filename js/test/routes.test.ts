import { describe, expect, test } from "vitest";
import { EdgeKind, edgesInto, type Graph, placeOf } from "../src/core/graph.js";
import {
  busyColumns,
  coverage,
  drawnCount,
  EXPLAINED,
  FEWEST,
  reachable,
  routeBelow,
  STEPS,
  stepAt,
  strongestFirst,
  thresholdAt,
  thresholdScale,
  trace,
} from "../src/core/routes.js";
import flow from "../src/encodings/flow.js";
import share from "../src/encodings/share.js";
import { encodingOf } from "../src/paint/encoding.js";
import { graphOf, random, SHAPES } from "./synthetic.js";

type Reading = "max" | "sum";
const SETTINGS: ["flow" | "share", Reading][] = [
  ["flow", "max"],
  ["share", "max"],
  ["share", "sum"],
];

const traced = (g: Graph, target: number, encoding: string, reading: Reading) =>
  trace(g, target, encodingOf([flow, share], encoding), { reading, renormalise: false });

/** Every path down from the target, one by one: flow by adding products, strength by the best minimum. */
function walk(g: Graph, target: number, encoding: string, reading: Reading) {
  const flow = new Float64Array(g.n_edges);
  const node_flow = new Float64Array(g.n_nodes);
  const strength = new Float64Array(g.n_edges);
  const down = (node: number, amount: number) => {
    node_flow[node] += amount;
    for (const e of edgesInto(g, node)) {
      flow[e] += amount * g.share_sum[e];
      down(g.source[e], amount * g.share_sum[e]);
    }
  };
  const own = (e: number) =>
    encoding === "flow"
      ? flow[e]
      : g.kind[e] === EdgeKind.read
        ? Number.POSITIVE_INFINITY
        : reading === "max"
          ? g.share_max[e]
          : g.share_sum[e];
  const strongest = (node: number, so_far: number) => {
    for (const e of edgesInto(g, node)) {
      const s = Math.min(so_far, own(e));
      if (s <= 0) continue;
      strength[e] = Math.max(strength[e], s);
      strongest(g.source[e], s);
    }
  };
  const top = (g.S - 1) * g.T + target;
  down(top, 1);
  strongest(top, Number.POSITIVE_INFINITY);
  return { flow, node_flow, strength };
}

describe.each(SHAPES)("routes through $T tokens, $layers layers, $block blocks", (shape) => {
  const g = graphOf(shape);

  test.each(SETTINGS)("%s by %s: flow and strength equal a walk along every path", (encoding, reading) => {
    for (const target of new Set([0, g.T >> 1, g.T - 1])) {
      const routes = traced(g, target, encoding, reading);
      const naive = walk(g, target, encoding, reading);
      for (let e = 0; e < g.n_edges; e++) {
        expect(Math.abs(routes.flow[e] - naive.flow[e])).toBeLessThan(1e-6);
        expect(Math.abs(routes.strength[e] - naive.strength[e])).toBeLessThan(1e-6);
      }
      for (let n = 0; n < g.n_nodes; n++) expect(Math.abs(routes.node_flow[n] - naive.node_flow[n])).toBeLessThan(1e-6);
    }
  });

  test("flow is conserved: inputs and what ended add up to 1", () => {
    for (let target = 0; target < g.T; target++) {
      const { input_share, ended } = trace(g, target);
      const whole = input_share.reduce((a, b) => a + b, 0) + Object.values(ended).reduce((a, b) => a + b, 0);
      expect(Math.abs(whole - 1)).toBeLessThan(0.003 * g.S);
    }
  });

  test("a target depends on nothing after it", () => {
    const { input_share } = trace(g, 0);
    for (let t = 1; t < g.T; t++) expect(input_share[t]).toBe(0);
  });

  test.each(SETTINGS)("%s by %s: drawn edges hang together and shrink with the threshold", (encoding, reading) => {
    const routes = traced(g, g.T - 1, encoding, reading);
    const top = (g.S - 1) * g.T + g.T - 1;
    let before = Number.POSITIVE_INFINITY;
    for (const t of [0, 0.001, 0.01, 0.04, 0.2, 0.9]) {
      const n = drawnCount(routes, t);
      expect(n).toBeLessThanOrEqual(before);
      before = n;
      const drawn = Array.from(routes.order.subarray(0, n));
      expect(drawn.every((e) => routes.strength[e] > t)).toBe(true);
      expect(drawn.length).toBe(routes.strength.filter((s) => s > t).length);
      const left = new Set(drawn.map((e) => g.source[e])).add(top);
      for (const e of drawn) expect(left.has(g.entered[e])).toBe(true);
      expect(routes.attention[n]).toBe(drawn.filter((e) => g.kind[e] === EdgeKind.attention).length);
    }
  });

  test("everything drawn carries all that does not end", () => {
    const routes = trace(g, g.T - 1);
    expect(coverage(g, routes, 0)).toBeCloseTo(
      routes.input_share.reduce((a, b) => a + b, 0),
      5,
    );
    expect(coverage(g, routes, 0.02)).toBeLessThanOrEqual(coverage(g, routes, 0.001) + 1e-9);
    expect(coverage(g, routes, 2)).toBe(g.S === 1 ? 1 : 0);
  });
});

test("the route below the target is all that is drawn, below a state only what leads down from it", () => {
  const g = graphOf({ T: 7, layers: 3, block: "sequential" });
  const routes = trace(g, 6);
  const all = routes.order.subarray(0, drawnCount(routes, routes.automatic));
  expect(routeBelow(g, routes, routes.automatic, (g.S - 1) * g.T + 6).sort()).toEqual(Array.from(all).sort());
  const below = routeBelow(g, routes, routes.automatic, 3 * g.T + 2);
  expect(below.length).toBeGreaterThan(0);
  for (const e of below) expect(placeOf(g, g.entered[e]).pos).toBeLessThanOrEqual(2);
});

test.each([4, 14, 40, 120])("the automatic threshold draws the fewest lines that explain the target (%i tokens)", (T) => {
  const g = graphOf({ T, layers: 6, block: "sequential" });
  const routes = trace(g, g.T - 1);
  const lines = (threshold: number) => routes.attention[drawnCount(routes, threshold)];
  const wanted = EXPLAINED * reachable(routes) - 1e-6;
  const n = lines(routes.automatic);
  const most = 80 + 2 * 6 + 2 * T;
  expect(n).toBeLessThanOrEqual(most);
  expect(coverage(g, routes, routes.automatic) >= wanted || n >= most - 1).toBe(true);
  const strengths = [...routes.order].filter((e) => g.kind[e] === EdgeKind.attention).map((e) => routes.strength[e]);
  if (n > FEWEST) expect(coverage(g, routes, strengths[n - 1])).toBeLessThan(EXPLAINED * reachable(routes) + 1e-6);
});

test("an encoding with a threshold of its own keeps it", () => {
  const g = graphOf({ T: 40, layers: 6, block: "sequential" });
  expect(trace(g, 39, share).automatic).toBe(0.04);
  expect(trace(g, 0).automatic).toBe(0);
});

test("of a long prompt only the strongest edges are sorted at once, and the others when they are wanted", () => {
  const g = graphOf({ T: 200, layers: 12, block: "sequential" });
  for (const [encoding, reading] of SETTINGS) {
    const routes = traced(g, 199, encoding, reading);
    const first = routes.order;
    expect(first.length).toBeLessThan(routes.strength.filter((s) => s > 0).length);
    expect(drawnCount(routes, 0)).toBe(routes.strength.filter((s) => s > 0).length);
    expect(routes.order).toEqual(strongestFirst(routes.strength));
    expect(routes.order.slice(0, first.length)).toEqual(first);
  }
});

test("drawn nodes are the ends of drawn edges", () => {
  const g = graphOf({ T: 30, layers: 5, block: "four" });
  for (const [encoding, reading] of SETTINGS) {
    const routes = traced(g, 29, encoding, reading);
    for (const t of [0, 0.003, 0.04]) {
      const ends = new Set([(g.S - 1) * g.T + 29]);
      for (const e of routes.order.subarray(0, drawnCount(routes, t))) ends.add(g.source[e]).add(g.entered[e]);
      const drawn = Array.from(routes.node_strength.keys()).filter((n) => routes.node_strength[n] > t);
      expect(drawn).toEqual([...ends].sort((a, b) => a - b));
    }
  }
});

test("all edges zero: no routes, everything ends at the target, nothing breaks", () => {
  const g = graphOf({ T: 4, layers: 2, block: "sequential", zero: true });
  const routes = trace(g, 3);
  expect(routes.order.length).toBe(0);
  expect(routes.automatic).toBe(0);
  expect(routes.ended["no parts"]).toBe(1);
  expect(coverage(g, routes, 0)).toBe(0);
  expect(Array.from(busyColumns(g, routes, 0))).toEqual([0, 0, 0, 1]);
  const scale = thresholdScale(routes);
  expect(thresholdAt(scale, stepAt(scale, 0.01))).toBeGreaterThan(0);
});

test("renormalised weights of the drawn edges add up to 1 at every state", () => {
  const g = graphOf({ T: 7, layers: 3, block: "sequential" });
  const routes = traced(g, 6, "share", "sum");
  const weight = share.weight(g, routes, () => 0.04, { reading: "sum", renormalise: true });
  const sums = new Map<number, number>();
  for (const e of routes.order.subarray(0, drawnCount(routes, 0.04))) {
    if (g.kind[e] !== EdgeKind.read) sums.set(g.entered[e], (sums.get(g.entered[e]) ?? 0) + weight[e]);
  }
  for (const [node, sum] of sums) expect(sum, String(placeOf(g, node))).toBeCloseTo(1, 5);
});

test("an edge into a square is as wide as the square's share", () => {
  const g = graphOf({ T: 5, layers: 2, block: "sequential" });
  const routes = traced(g, 4, "share", "sum");
  const weight = share.weight(g, routes, () => 0, { reading: "sum", renormalise: false });
  for (let e = 0; e < g.n_edges; e++) {
    if (g.kind[e] !== EdgeKind.read) continue;
    const out = g.source.indexOf(g.entered[e]);
    expect(weight[e]).toBe(g.share_sum[out]);
  }
});

test("the radix sort agrees with a comparison sort, infinity first", () => {
  const rand = random(3);
  const values = Float32Array.from({ length: 5000 }, () => (rand() < 0.1 ? 0 : rand() ** 9));
  values[17] = Number.POSITIVE_INFINITY;
  const order = strongestFirst(values);
  const naive = Array.from(values.keys())
    .filter((i) => values[i] > 0)
    .sort((a, b) => values[b] - values[a] || a - b);
  expect(Array.from(order)).toEqual(naive);
});

test("slider steps and thresholds go back and forth", () => {
  const g = graphOf({ T: 20, layers: 4, block: "sequential" });
  const scale = thresholdScale(trace(g, 19));
  expect(thresholdAt(scale, 0)).toBe(0);
  for (let step = 0; step <= STEPS; step++)
    expect(Math.abs(stepAt(scale, thresholdAt(scale, step)) - step)).toBeLessThanOrEqual(1);
  expect(thresholdAt(scale, STEPS)).toBeCloseTo(scale.high, 2);
});
