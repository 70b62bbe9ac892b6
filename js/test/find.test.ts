import { expect, test } from "vitest";
import { find, MOST_FOUND } from "../src/core/find.js";
import { trace } from "../src/core/routes.js";
import { graphOf } from "./synthetic.js";

const g = graphOf({ T: 12, layers: 3, block: "sequential", heads: 4 });
const routes = trace(g, 11);
const names = (text: string, threshold = 0) => find(g, routes, threshold, text).map((found) => found.name);

test("a head is found however its name is written, also where no line of it is drawn", () => {
  for (const text of ["l2 h3", "L2H3", "l2.h3", "2.3", "layer 2 head 3", " l2, h3 "]) {
    const [found, ...others] = find(g, routes, 1, text);
    expect(others, text).toEqual([]);
    expect(found).toMatchObject({ name: "L2 H3", item: null, n_lines: 0 });
    expect(found.selection).toEqual({ kind: "head", state: 5, head: 3, query: 11, key: null });
  }
});

test("a layer names all its heads, a head number one of every layer, and neither what does not exist", () => {
  expect(names("l1")).toEqual(["L1 H0", "L1 H1", "L1 H2", "L1 H3"]);
  expect(names("h2")).toEqual(["L0 H2", "L1 H2", "L2 H2"]);
  expect(names("l1 h4")).toEqual([]);
  expect(names("l3")).toEqual([]);
});

test("a head shows its strongest drawn line", () => {
  const [found] = find(g, routes, 0, "l1").filter(({ n_lines }) => n_lines);
  const edge = found.item?.kind === "edge" ? found.item.edge : -1;
  expect(g.head[edge]).toBe(found.selection.kind === "head" ? found.selection.head : -1);
  expect(g.meta.parts[g.part[edge]].layer).toBe(1);
});

test("tokens are found by a piece of their text in any case, and by their number", () => {
  expect(names("JOHN")).toEqual(["3 ·John", "9 ·John"]);
  expect(names("7")).toEqual(["7 ·store"]);
  expect(find(g, routes, 0, "7")[0]).toMatchObject({ selection: { kind: "token", pos: 7 }, input_share: routes.input_share[7] });
  expect(names("zebra")).toEqual([]);
});

test("an empty search lists the tokens, and never too many", () => {
  expect(names("")).toHaveLength(12);
  const long = graphOf({ T: 200, layers: 1, block: "sequential" });
  expect(find(long, trace(long, 199), 0, "")).toHaveLength(MOST_FOUND);
});
