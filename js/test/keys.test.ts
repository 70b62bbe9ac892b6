import { expect, test } from "vitest";
import { EdgeKind, placeOf } from "../src/core/graph.js";
import { trace } from "../src/core/routes.js";
import type { Item } from "../src/core/select.js";
import { keyAction } from "../src/views/flow/keys.js";
import { graphOf } from "./synthetic.js";

const g = graphOf({ T: 6, layers: 2, block: "sequential" });
const routes = trace(g, 5);
const node = (state: number, pos: number): Item => ({ kind: "node", node: state * g.T + pos });
const press = (at: Item | null, key: string, shiftKey = false) => keyAction(g, routes, at, { key, shiftKey });
const moved = (at: Item | null, key: string, shiftKey = false) => {
  const action = press(at, key, shiftKey);
  return action?.do === "move" ? action.to : null;
};

test("the first arrow lands on the target, the next ones walk", () => {
  expect(moved(null, "ArrowUp")).toEqual(node(4, 5));
  expect(moved(node(3, 2), "ArrowUp")).toEqual(node(4, 2));
  expect(moved(node(3, 2), "ArrowLeft")).toEqual(node(3, 1));
  expect(moved(node(4, 2), "ArrowUp")).toBeNull();
  expect(moved(node(3, 5), "ArrowRight")).toBeNull();
});

test("below the embedding are the tokens", () => {
  expect(moved(node(0, 2), "ArrowDown")).toEqual({ kind: "token", pos: 2 });
  expect(moved({ kind: "token", pos: 2 }, "ArrowRight")).toEqual({ kind: "token", pos: 3 });
  expect(moved({ kind: "token", pos: 2 }, "ArrowUp")).toEqual(node(0, 2));
});

test("Shift and right enters the MLP, left leaves it", () => {
  const square = moved(node(2, 3), "ArrowRight", true);
  expect(square?.kind).toBe("node");
  const at = placeOf(g, (square as { node: number }).node);
  expect([at.part >= 0, at.pos, g.meta.parts[at.part].kind]).toEqual([true, 3, "mlp"]);
  expect(moved(square, "ArrowLeft")).toEqual(node(2, 3));
});

test("comma and full stop walk incoming edges by weight, f follows", () => {
  const seen: number[] = [];
  let at: Item | null = node(1, 5);
  for (let i = 0; i < 5; i++) {
    at = moved(at, ".");
    if (at?.kind === "edge") seen.push(at.edge);
  }
  for (let i = 1; i < seen.length; i++) expect(routes.flow[seen[i]]).toBeLessThanOrEqual(routes.flow[seen[i - 1]]);
  expect(seen.every((e) => g.kind[e] !== EdgeKind.read)).toBe(true);
  expect(moved(at, ",")).toEqual({ kind: "edge", edge: seen[3] });
  expect(moved(at, "f")).toEqual({ kind: "node", node: g.source[seen[4]] });
});

test("the other keys", () => {
  expect(press(node(1, 2), "t")).toEqual({ do: "target", item: { kind: "token", pos: 2 } });
  expect(press(node(1, 2), "Enter")).toEqual({ do: "select", item: node(1, 2) });
  expect(["Escape", "+", "-", "0", "?", "p"].map((key) => press(null, key)?.do)).toEqual([
    "back",
    "zoom-in",
    "zoom-out",
    "fit",
    "help",
    "pin",
  ]);
  expect(press(null, "x")).toEqual({ do: "cut" });
  expect(press(null, "u")).toEqual({ do: "undo" });
  expect(press(null, "y")).toBeNull();
});
