// Long drawings in slices: the heaviest edges first, the rest over the following frames.

export const SLICE = 1500; // edges in the first frame: a few milliseconds without a graphics processor

const LEAST = 500;
const MOST = 24_000;
const BRISK = 20; // ms from frame to frame
const SLOW = 34;

/**
 * Calls draw(from, most), which returns how far it came, until that is `n`: once a frame, beginning with the next, with slices
 * as large as keep the frames brisk. Returns a way to stop.
 */
export function progressive(
  start: number,
  n: number,
  draw: (from: number, most: number) => number,
  frame: (f: (now: number) => void) => number = requestAnimationFrame,
  cancel: (id: number) => void = cancelAnimationFrame,
): () => void {
  let next = start;
  let most = SLICE;
  let before = 0;
  let id = 0;
  const step = (now: number) => {
    const passed = before > 0 ? now - before : BRISK;
    if (passed < BRISK) most = Math.min(MOST, 2 * most);
    else if (passed > SLOW) most = Math.max(LEAST, most / 2);
    before = now;
    next = draw(next, most);
    id = next < n ? frame(step) : 0;
  };
  if (next < n) id = frame(step);
  return () => {
    if (id) cancel(id);
    id = 0;
  };
}
