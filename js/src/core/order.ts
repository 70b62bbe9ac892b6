// Which columns are shown and where: idle token columns fold into one narrow gap.

export interface Columns {
  slot: Int32Array; // [pos] -> slot along the x axis
  n_slots: number;
  folds: { slot: number; from: number; n: number }[]; // slots that stand for n idle positions
  folded: Uint8Array; // [pos]; 1 where the position is inside a fold
}

const SHORTEST = 3; // a fold of fewer columns would save no room

/** One slot a position, runs of at least three idle positions folded into one slot; never inside `keep`. */
export function columns(busy: Uint8Array, fold: boolean): Columns {
  const T = busy.length;
  const slot = new Int32Array(T);
  const folded = new Uint8Array(T);
  const folds: Columns["folds"] = [];
  let next = 0;
  for (let t = 0; t < T; ) {
    let end = t;
    while (end < T && !busy[end]) end++;
    if (fold && end - t >= SHORTEST) {
      folds.push({ slot: next, from: t, n: end - t });
      for (; t < end; t++) {
        slot[t] = next;
        folded[t] = 1;
      }
      next++;
    } else {
      end = Math.max(end, t + 1);
      for (; t < end; t++) slot[t] = next++;
    }
  }
  return { slot, n_slots: next, folds, folded };
}
