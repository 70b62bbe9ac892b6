import { expect, test } from "vitest";
import { progressive, SLICE } from "../src/paint/progressive.js";

test("long drawings come in slices, in order, and can be stopped", () => {
  const frames: (() => void)[] = [];
  const drawn: [number, number][] = [];
  const stop = progressive(
    2 * SLICE + 5,
    (from, to) => drawn.push([from, to]),
    (f) => frames.push(f),
    () => frames.splice(0),
  );
  expect(drawn).toEqual([[0, SLICE]]);
  frames.shift()?.();
  expect(drawn[1]).toEqual([SLICE, 2 * SLICE]);
  stop();
  expect(frames).toEqual([]);
});
