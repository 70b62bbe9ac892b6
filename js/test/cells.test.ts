import { expect, test } from "vitest";
import {
  cellAt,
  cellOfItem,
  differenceBytes,
  itemOfCell,
  mapBytes,
  pixels,
  SIDE,
  squareOf,
  stepCell,
} from "../src/core/cells.js";
import { EdgeKind } from "../src/core/graph.js";
import { graphOf } from "./synthetic.js";

test("the cell under a point is its query's row and its key's column", () => {
  expect(cellAt(10, 200, 45, 110)).toEqual({ query: 5, key: 2 });
  expect(cellAt(10, 200, 0, 0)).toEqual({ query: 0, key: 0 });
  expect(cellAt(10, 200, 199.9, 199.9)).toEqual({ query: 9, key: 9 });
});

test("above the diagonal and outside the map there is no cell", () => {
  expect(cellAt(10, 200, 110, 45)).toBeNull();
  expect(cellAt(10, 200, -1, 50)).toBeNull();
  expect(cellAt(10, 200, 50, 200)).toBeNull();
});

test("arrows walk the cells and stop at the diagonal and the ends", () => {
  expect(stepCell(6, { query: 3, key: 1 }, "ArrowRight")).toEqual({ query: 3, key: 2 });
  expect(stepCell(6, { query: 3, key: 3 }, "ArrowRight")).toEqual({ query: 3, key: 3 });
  expect(stepCell(6, { query: 3, key: 3 }, "ArrowUp")).toEqual({ query: 2, key: 2 });
  expect(stepCell(6, { query: 5, key: 0 }, "ArrowDown")).toEqual({ query: 5, key: 0 });
  expect(stepCell(6, { query: 4, key: 2 }, "End")).toEqual({ query: 4, key: 4 });
  expect(stepCell(6, { query: 4, key: 2 }, "x")).toBeNull();
});

test("bytes follow the square root up to the range's top", () => {
  const { bytes, side } = mapBytes([1, 9, 0.25, 0], 2, 1);
  expect(side).toBe(2);
  expect([...bytes]).toEqual([255, 0, 128, 0]); // the future key is left out
  expect([...mapBytes([0, 0, 0, 0], 2, 0).bytes]).toEqual([0, 0, 0, 0]);
});

test("a large map is pooled by its maximum, so that one bright cell stays", () => {
  const n = 2 * SIDE;
  const values = new Float32Array(n * n);
  values[999 * n + 333] = 1;
  const { bytes, side } = mapBytes(values, n, 1);
  expect(side).toBe(SIDE);
  expect(bytes[499 * side + 166]).toBe(255);
  expect(bytes.reduce((a, b) => a + b, 0)).toBe(255);
});

test("differences are signed around the middle of the ramp", () => {
  const { bytes, top } = differenceBytes([0.5, 0, 0.2, 0.1], [0.5, 0, 0.1, 0.5], 2);
  expect(top).toBeCloseTo(0.4);
  expect([...bytes]).toEqual([128, 128, 65, 255]); // a quarter of the largest is half-way
});

test("cells above the diagonal stay clear", () => {
  const table = Uint32Array.from({ length: 256 }, () => 7);
  expect([...pixels([0, 0, 0, 0], 2, table)]).toEqual([7, 0, 7, 7]);
});

test("a cell's edge leads back to the cell", () => {
  const g = graphOf({ T: 6, layers: 2, block: "sequential" });
  let n = 0;
  for (let e = 0; e < g.n_edges; e++) {
    if (g.kind[e] !== EdgeKind.attention) continue;
    const state = Math.floor(g.entered[e] / g.T);
    const cell = cellOfItem(g, state, g.part[e], { kind: "edge", edge: e });
    expect(cell && itemOfCell(g, state, g.part[e], cell)).toEqual({ kind: "edge", edge: e });
    n++;
  }
  expect(n).toBeGreaterThan(10);
  expect(cellOfItem(g, 1, 0, { kind: "token", pos: 4 })).toEqual({ query: 4, key: 4 });
});

test("a drag is about the square around it, within the map and of a few cells at least", () => {
  expect(squareOf(100, { query: 60, key: 20 }, { query: 40, key: 35 })).toEqual({ query: 40, key: 20, size: 21 });
  expect(squareOf(100, { query: 99, key: 98 }, { query: 99, key: 98 })).toEqual({ query: 96, key: 96, size: 4 });
  expect(squareOf(3, { query: 2, key: 0 }, { query: 2, key: 2 })).toEqual({ query: 0, key: 0, size: 3 });
});
