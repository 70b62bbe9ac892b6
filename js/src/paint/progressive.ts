// Long drawings in slices: the heaviest edges first, the rest over the following frames.

export const SLICE = 12_000; // edges a frame

/** Calls draw(from, to) for 0..n, the first slice now and one slice a frame after that. Returns a way to stop. */
export function progressive(
  n: number,
  draw: (from: number, to: number) => void,
  frame: (f: () => void) => number = requestAnimationFrame,
  cancel: (id: number) => void = cancelAnimationFrame,
): () => void {
  let next = 0;
  let id = 0;
  const step = () => {
    const to = Math.min(n, next + SLICE);
    draw(next, to);
    next = to;
    id = next < n ? frame(step) : 0;
  };
  step();
  return () => {
    if (id) cancel(id);
    id = 0;
  };
}
