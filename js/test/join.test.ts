import { expect, test } from "vitest";
import type { Answer } from "../src/core/answers.js";
import { comparables, join, neuronLabel } from "../src/core/join.js";

test("rows are joined by key, the largest difference first, the unmatched last", () => {
  const rows = join(
    [
      { key: "1", label: "·Mary", value: 0.5 },
      { key: "2", label: "·John", value: 0.1 },
      { key: "3", label: "·him", value: 0.2 },
    ],
    [
      { key: "2", label: "·John", value: 0.7 },
      { key: "1", label: "·Mary", value: 0.4 },
      { key: "4", label: "·her", value: 0.3 },
    ],
  );
  expect(rows.map((r) => r.label)).toEqual(["·John", "·Mary", "·her", "·him"]);
  expect(rows[0].difference).toBeCloseTo(0.6);
  expect(rows[1].difference).toBeCloseTo(-0.1);
  expect(rows[3]).toEqual({ label: "·him", pinned: 0.2, now: null, difference: null });
  expect(rows[2]).toEqual({ label: "·her", pinned: null, now: 0.3, difference: null });
});

test("tokens of the same text and another id are not joined", () => {
  expect(join([{ key: "5", label: "a", value: 1 }], [{ key: "6", label: "a", value: 1 }])).toHaveLength(2);
});

test("the neurons of two MLPs are joined by expert and number", () => {
  const mlp = (share: number[], expert: (number | null)[]) =>
    ({
      kind: "mlp",
      share: 0.5,
      effect: null,
      neurons: { neuron: [7, 8], expert, share, value: [1, -2], effect: [null, null] },
      update: null,
    }) as unknown as Answer;
  const tables = comparables(mlp([0.2, 0.1], [3, 4]), {});
  expect(tables.map((t) => t.title)).toEqual(["figures", "neurons", "values"]); // no effects without a read-out
  expect(tables[1].figures.map((f) => f.key)).toEqual(["E3 7", "E4 8"]);
  expect(neuronLabel(7, null)).toBe("7");
});
