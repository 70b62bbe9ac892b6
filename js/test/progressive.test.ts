import { expect, test } from "vitest";
import { progressive, SLICE } from "../src/paint/progressive.js";

/** Animation frames whose time is given. */
function frames() {
  const waiting: ((now: number) => void)[] = [];
  return {
    waiting,
    ask: (f: (now: number) => void) => waiting.push(f),
    cancel: () => void waiting.splice(0),
    go: (now: number) => waiting.shift()?.(now),
  };
}

test("long drawings come in slices, in order, until all is drawn", () => {
  const { waiting, ask, cancel, go } = frames();
  const drawn: [number, number][] = [];
  const n = 2 * SLICE + 5;
  const draw = (from: number, most: number) => {
    drawn.push([from, Math.min(n, from + most)]);
    return drawn[drawn.length - 1][1];
  };
  progressive(7, n, draw, ask, cancel);
  expect(drawn).toEqual([]);
  for (let now = 25; waiting.length; now += 25) go(now);
  expect(drawn).toEqual([
    [7, SLICE + 7],
    [SLICE + 7, n],
  ]);
});

test("a drawing can be stopped, and one without anything to draw asks for no frame", () => {
  const { waiting, ask, cancel, go } = frames();
  const stop = progressive(0, 3 * SLICE, (from, most) => from + most, ask, cancel);
  go(25);
  expect(waiting.length).toBe(1);
  stop();
  expect(waiting).toEqual([]);
  progressive(5, 5, () => expect.unreachable(), ask, cancel);
  expect(waiting).toEqual([]);
});

test("slices grow while frames are brisk and shrink while they are slow", () => {
  const { ask, cancel, go } = frames();
  const sizes: number[] = [];
  progressive(0, 1e9, (from, most) => from + sizes[sizes.push(most) - 1], ask, cancel);
  let now = 100;
  for (const passed of [0, 16, 16, 16, 25, 80, 80, 80, 80, 80, 80, 80]) {
    now += passed;
    go(now);
  }
  expect(sizes.slice(0, 6)).toEqual([SLICE, 2 * SLICE, 4 * SLICE, 8 * SLICE, 8 * SLICE, 4 * SLICE]);
  expect(Math.min(...sizes)).toBe(500);
});
