import { expect, test } from "vitest";
import { EdgeKind } from "../src/core/graph.js";
import { type Item, itemOf, type Selection, selectionOf } from "../src/core/select.js";
import { KINDS } from "../src/panels/kinds.js";
import { graphOf, SHAPES } from "./synthetic.js";

test("everything in the picture can be selected and is found again", () => {
  for (const shape of SHAPES) {
    const g = graphOf(shape);
    const items: Item[] = [
      ...Array.from({ length: g.n_nodes }, (_, node) => ({ kind: "node" as const, node })),
      ...Array.from({ length: g.n_edges }, (_, edge) => ({ kind: "edge" as const, edge })).filter(
        ({ edge }) => g.kind[edge] <= EdgeKind.attention,
      ),
      { kind: "token", pos: 0 },
    ];
    for (const item of items) expect(itemOf(KINDS, g, selectionOf(KINDS, g, item))).toEqual(item);
  }
});

test("a head is its edge, a neuron its MLP", () => {
  const g = graphOf({ T: 5, layers: 2, block: "sequential" });
  const edge = itemOf(KINDS, g, { kind: "edge", state: 3, query: 4, key: 0 });
  expect(edge?.kind).toBe("edge");
  expect(itemOf(KINDS, g, { kind: "head", state: 3, head: 1, query: 4, key: 0 })).toEqual(edge);
  expect(itemOf(KINDS, g, { kind: "neuron", state: 2, pos: 1, neuron: 9 })).toEqual(
    itemOf(KINDS, g, { kind: "mlp", state: 2, pos: 1 }),
  );
});

test("a selection this graph does not have is nothing", () => {
  const g = graphOf({ T: 5, layers: 2, block: "sequential" });
  const none: Selection[] = [
    { kind: "state", state: 99, pos: 0 },
    { kind: "state", state: 1, pos: -1 },
    { kind: "edge", state: 2, query: 1, key: 0 },
    { kind: "mixer", state: 1, pos: 0 },
    { kind: "token", pos: 5 },
    { kind: "carried", state: 0, pos: 0 },
  ];
  for (const selection of none) expect(itemOf(KINDS, g, selection)).toBeNull();
});
