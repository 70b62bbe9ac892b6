import { expect, test } from "vitest";
import { EdgeKind } from "../src/core/graph.js";
import { edgeName, nodeName, shortName, stateName, visible } from "../src/core/names.js";
import { count, percent, roundPercent } from "../src/core/numbers.js";
import { graphOf } from "./synthetic.js";

const g = graphOf({ T: 6, layers: 3, block: "sequential" });

test("states, squares and edges have the glossary's names", () => {
  expect(stateName(g, 0)).toBe("embedding");
  expect(nodeName(g, 5 * g.T + 3)).toBe("L2 after attention · 3 ·John");
  expect(nodeName(g, (g.S + g.squareOf[1]) * g.T)).toBe("L0 MLP · 0 When");
  const e = g.kind.indexOf(EdgeKind.attention);
  expect(edgeName(g, e)).toMatch(/^L2 attention · 0 When → \d When$/);
  expect(edgeName(g, g.kind.indexOf(EdgeKind.carried))).toBe("residual · L2 after attention → L2 after MLP · 0 When");
});

test("the two states of a layer have two short names", () => {
  const short = [5, 6].map((state) => shortName(g, { kind: "node", node: state * g.T + 3 }));
  expect(short).toEqual(["L2 after attention ·John", "L2 after MLP ·John"]);
});

test("percentages keep the digits that mean something", () => {
  expect([0, 5e-5, 0.0027, 0.04, 0.416, 0.9999, 1].map(percent)).toEqual([
    "0%",
    "<0.01%",
    "0.27%",
    "4.0%",
    "41.6%",
    "100%",
    "100%",
  ]);
  expect([0, 0.001, 0.636, 1].map(roundPercent)).toEqual(["0%", "<1%", "64%", "100%"]);
  expect([12, 25310, 1234567].map(count)).toEqual(["12", "25,310", "1,234,567"]);
});

test("hostile tokens stay text: controls are shown, right-to-left is isolated", () => {
  expect(visible("a\u0000b\nc\u007f\u202e")).toBe("a␀b␊c⟨007F⟩⟨202E⟩");
  expect(visible("שלום")).toBe("\u2068שלום\u2069");
  expect(visible("日本")).toBe("日本");
});
