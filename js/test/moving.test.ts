// What moves to another place is on its way there for a moment, and is there at the end.
import { signal } from "@preact/signals";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { columns } from "../src/core/order.js";
import { type Layout, layoutGraph } from "../src/views/flow/layout.js";
import { moving } from "../src/views/flow/moving.js";
import { graphOf, SHAPES } from "./synthetic.js";

const g = graphOf(SHAPES[0]);
const busy = (...pos: number[]) => Uint8Array.from({ length: g.T }, (_, t) => Number(pos.includes(t)));
const laid = (width: number, ...pos: number[]): Layout =>
  layoutGraph(g, columns(busy(...pos), true), width, 400, { zoom: 1, x: null, y: null }, pos[0]);

let now = 0;
let frames: (() => void)[] = [];
const pass = (ms: number) => {
  now += ms;
  for (const frame of frames.splice(0)) frame();
};

beforeEach(() => {
  [now, frames] = [0, []];
  vi.stubGlobal("performance", { now: () => now });
  vi.stubGlobal("requestAnimationFrame", (f: () => void) => frames.push(f));
  vi.stubGlobal("cancelAnimationFrame", () => {
    frames = [];
  });
});
afterEach(() => vi.unstubAllGlobals());

test("columns are half way after half the time, and where they belong at the end", () => {
  const [from, to] = [laid(600, 0, 1), laid(600, g.T - 1)];
  const wanted = signal<Layout | null>(from);
  const [shown, stop] = moving(wanted, () => true);
  expect(shown.value).toBe(from);
  wanted.value = to;
  pass(100);
  for (const t of from.x.keys()) expect(shown.value?.x[t]).toBeCloseTo((from.x[t] + to.x[t]) / 2, 3);
  for (const n of from.node_x.keys()) expect(shown.value?.node_x[n]).toBeCloseTo((from.node_x[n] + to.node_x[n]) / 2, 3);
  pass(100);
  expect(shown.value).toBe(to);
  expect(frames).toEqual([]);
  stop();
});

test("what is resized, or where no motion is wanted, is there at once", () => {
  const wanted = signal<Layout | null>(laid(600, 0, 1));
  let may = true;
  const [shown, stop] = moving(wanted, () => may);
  wanted.value = laid(700, g.T - 1);
  expect(shown.value).toBe(wanted.value);
  may = false;
  wanted.value = laid(700, 0, 1);
  expect(shown.value).toBe(wanted.value);
  stop();
});
