// Columns and rows that move to where another target, threshold or fold puts them, so that the eye keeps what it saw.
import { effect, type ReadonlySignal, signal } from "@preact/signals";
import type { Layout } from "./layout.js";

const MOVES = 200; // ms
const STIRRED = 0.5; // px; less is no move

/** The layout as it is shown: `wanted`, or on the way there where `may` allows it; and what ends that. */
export function moving(wanted: ReadonlySignal<Layout | null>, may: () => boolean): [ReadonlySignal<Layout | null>, () => void] {
  const shown = signal<Layout | null>(null);
  let frame = 0;
  const stop = effect(() => {
    const [from, to] = [shown.peek(), wanted.value];
    cancelAnimationFrame(frame);
    if (!from || !to || !isMove(from, to) || !may()) {
      shown.value = to;
      return;
    }
    const start = performance.now();
    const step = () => {
      const u = Math.min(1, (performance.now() - start) / MOVES);
      shown.value = u < 1 ? between(from, to, u * u * (3 - 2 * u)) : to;
      if (u < 1) frame = requestAnimationFrame(step);
    };
    step();
  });
  return [
    shown,
    () => {
      stop();
      cancelAnimationFrame(frame);
    },
  ];
}

/** Whether the same columns and rows stand elsewhere, and not because the reader moves or resizes them. */
function isMove(from: Layout, to: Layout): boolean {
  const same = from.columns !== to.columns && from.node_x.length === to.node_x.length && from.x.length === to.x.length;
  return same && from.width === to.width && from.x.some((x, t) => Math.abs(x - to.x[t]) > STIRRED);
}

function between(from: Layout, to: Layout, u: number): Layout {
  const mix = (a: number, b: number) => a + (b - a) * u;
  const x = from.x.map((at, t) => mix(at, to.x[t]));
  const y = from.y.map((at, s) => mix(at, to.y[s]));
  // A row's nodes stand at the columns, all equally far beside them, at one height: thousands of them in every frame.
  const [T, n] = [x.length, to.node_x.length];
  const [node_x, node_y] = [new Float32Array(n), new Float32Array(n)];
  for (let row = 0; row < n; row += T) {
    const beside = mix(from.node_x[row] - from.x[0], to.node_x[row] - to.x[0]);
    for (let t = 0; t < T; t++) node_x[row + t] = x[t] + beside;
    node_y.fill(mix(from.node_y[row], to.node_y[row]), row, row + T);
  }
  return { ...to, x, y, node_x, node_y };
}
