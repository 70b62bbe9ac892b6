// Numbers that Python wrote for a graph that Python packed: the two scans must agree on the wire's numbers.
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { buildGraph, type GraphMeta } from "../src/core/graph.js";
import { coverage, drawnCount, trace } from "../src/core/routes.js";
import flow from "../src/encodings/flow.js";
import share from "../src/encodings/share.js";
import { encodingOf } from "../src/paint/encoding.js";
import { type Container, unpack } from "../src/wire.js";

interface Case {
  target: number;
  encoding: string;
  reading: "max" | "sum";
  automatic: number;
  input_share: number[];
  ended: Record<string, number>;
  thresholds: { threshold: number; attention_edges: number; coverage: number }[];
}

const at = (name: string) => new URL(`fixtures/${name}`, import.meta.url);

test.skipIf(!existsSync(at("expected.json")))("routes equal those of Python on the same bytes", () => {
  const g = buildGraph(unpack<GraphMeta>(readFileSync(at("graph.bin")), "graph") as Container<GraphMeta>);
  const { cases } = JSON.parse(readFileSync(at("expected.json"), "utf8")) as { cases: Case[] };
  expect(cases.length).toBeGreaterThan(0);
  for (const { target, encoding, reading, automatic, input_share, ended, thresholds } of cases) {
    const routes = trace(g, target, encodingOf([flow, share], encoding), { reading, renormalise: false });
    expect(routes.automatic).toBeCloseTo(automatic, 5);
    for (const [pos, share] of input_share.entries()) expect(routes.input_share[pos]).toBeCloseTo(share, 5);
    for (const [cause, flow] of Object.entries(ended))
      expect(routes.ended[cause as keyof typeof routes.ended]).toBeCloseTo(flow, 5);
    for (const { threshold, attention_edges, coverage: carried } of thresholds) {
      expect(routes.attention[drawnCount(routes, threshold)]).toBe(attention_edges);
      expect(coverage(g, routes, threshold)).toBeCloseTo(carried, 5);
    }
  }
});
