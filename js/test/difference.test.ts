import { expect, test } from "vitest";
import type { Answer } from "../src/core/answer.js";
import { join } from "../src/core/difference.js";
import mlpKind, { neuronLabel } from "../src/kinds/mlp.js";
import stateKind from "../src/kinds/state.js";
import { graphOf } from "./synthetic.js";

const g = graphOf({ T: 6, layers: 2, block: "sequential" });

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

test("rows that only the other answer lists join those that this one lists itself", () => {
  const tokens = (id: number[], p: number[]) => ({ id, text: id.map(String), score: p, p });
  const state = {
    kind: "state",
    summary: null,
    lens: { ...tokens([1, 2], [0.6, 0.3]), also: tokens([5], [0.01]) },
    parts: { kind: ["carried", "attention"], part: [null, 0], key: [null, 3], share: [0.7, 0.2], label: ["", ""] },
    update: { promoted: tokens([1], [2]), suppressed: tokens([2], [-2]), also: tokens([9], [0.5]) },
  };
  const parts = { ...state.parts, also: { kind: ["attention"], part: [0], key: [4], share: [0.001], label: [""] } };
  const tables = stateKind.compare?.({ ...state, parts } as unknown as Answer, g) ?? [];
  const keys = Object.fromEntries(tables.map((t) => [t.title, t.figures.map((f) => [f.key, f.value])]));
  expect(keys["Lens: probability of each token"].at(-1)).toEqual(["5", 0.01]);
  expect(keys["Shares of its parts"].at(-1)).toEqual(["attention 4", 0.001]);
  expect(keys["Added to each token's logit"].at(-1)).toEqual(["9", 0.5]);
});

test("an MLP's own effect is not a row among those of its neurons", () => {
  const neurons = { neuron: [7], expert: [null], share: [0.2], value: [1], effect: [0.3] };
  const answer = { kind: "mlp", share: 0.5, effect: 1.5, neurons, update: null } as unknown as Answer;
  const tables = mlpKind.compare?.(answer, g) ?? [];
  expect(tables.filter((t) => t.unit === "signed").map((t) => [t.title, t.figures.map((f) => f.value)])).toEqual([
    ["Direct effect", [1.5]],
    ["Direct effects", [0.3]],
  ]);
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
  const tables = mlpKind.compare?.(mlp([0.2, 0.1], [3, 4]), g) ?? [];
  expect(tables.map((t) => t.title)).toEqual(["Figures", "Shares of the neurons", "Activations of the neurons"]); // no effects without a read-out
  expect(tables[1].figures.map((f) => f.key)).toEqual(["E3 7", "E4 8"]);
  expect(neuronLabel(7, null)).toBe("7");
});
