import { describe, expect, test } from "vitest";
import { buildGraph, EdgeKind, edgesInto, type GraphMeta, placeOf } from "../src/core/graph.js";
import { type Container, unpack, WireError } from "../src/wire.js";
import { graphBytes, graphOf, SHAPES } from "./synthetic.js";

describe.each(SHAPES)("a graph of $T tokens, $layers layers, $block blocks", (shape) => {
  const g = graphOf(shape);

  test("edges come top row first, so that every source is entered later", () => {
    const last_entered = new Map<number, number>();
    for (let e = 0; e < g.n_edges; e++) last_entered.set(g.entered[e], e);
    const first_left = new Map<number, number>();
    for (let e = g.n_edges - 1; e >= 0; e--) first_left.set(g.source[e], e);
    for (const [node, e] of first_left) {
      for (const into of edgesInto(g, node)) expect(into).toBeGreaterThan(e - 1);
    }
    for (let e = 1; e < g.n_edges; e++)
      expect(placeOf(g, g.entered[e]).state).toBeLessThanOrEqual(placeOf(g, g.entered[e - 1]).state);
  });

  test("a row holds exactly the edges that enter its state or its squares", () => {
    for (let s = 0; s < g.S; s++) {
      for (let e = g.rows[g.S - 1 - s]; e < g.rows[g.S - s]; e++) expect(placeOf(g, g.entered[e]).state).toBe(s);
    }
    expect(g.rows[g.S]).toBe(g.n_edges);
  });

  test("the shares of a state add up to 1 with what was cut", () => {
    for (let n = g.T; n < g.S * g.T; n++) {
      const sum = edgesInto(g, n).reduce((a, e) => a + g.share_sum[e], g.truncated[n]);
      expect(sum).toBeCloseTo(1, 2);
    }
  });

  test("an MLP's square passes on to the state it read, a mixer's does not", () => {
    g.squares.forEach((k, q) => {
      const into = edgesInto(g, (g.S + q) * g.T);
      expect(into.length).toBe(g.meta.parts[k].kind === "mlp" ? 1 : 0);
      for (const e of into) {
        expect(g.kind[e]).toBe(EdgeKind.read);
        expect(placeOf(g, g.source[e]).state).toBe(g.meta.parts[k].reads);
      }
    });
  });
});

test("a missing section is named", () => {
  const c = unpack<GraphMeta>(graphBytes({ T: 3, layers: 1, block: "sequential" }), "graph") as Container<GraphMeta>;
  delete c.sections["p0.key"];
  expect(() => buildGraph(c)).toThrow(WireError);
  expect(() => buildGraph(c)).toThrow("p0.key");
});
