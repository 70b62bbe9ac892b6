import { expect, test } from "vitest";
import { columns } from "../src/core/order.js";

test("runs of three or more idle columns fold into one slot", () => {
  const c = columns(Uint8Array.from([1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]), true);
  expect(Array.from(c.slot)).toEqual([0, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6]);
  expect(c.folds).toEqual([
    { slot: 1, from: 1, n: 3 },
    { slot: 6, from: 8, n: 4 },
  ]);
  expect(c.n_slots).toBe(7);
  expect(Array.from(c.folded)).toEqual([0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]);
});

test("without folding every position has its own slot", () => {
  const c = columns(new Uint8Array(9), false);
  expect(Array.from(c.slot)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  expect(c.folds).toEqual([]);
});

test("positions keep their order and every one has a slot", () => {
  for (let bits = 0; bits < 512; bits++) {
    const busy = Uint8Array.from({ length: 9 }, (_, i) => (bits >> i) & 1);
    const c = columns(busy, true);
    for (let t = 1; t < 9; t++) expect(c.slot[t] - c.slot[t - 1]).toBe(c.folded[t] && c.folded[t - 1] ? 0 : 1);
    expect(c.n_slots).toBe(c.slot[8] + 1);
    for (let t = 0; t < 9; t++) expect(Boolean(busy[t] && c.folded[t])).toBe(false);
  }
});
