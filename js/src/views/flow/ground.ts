// The lowest canvas: grid and labels, and the many faint edges, drawn over several frames.
import { canvasPen } from "../../paint/pen.js";
import { progressive, SLICE } from "../../paint/progressive.js";
import { drawGrid, drawLabels } from "./axes.js";
import { drawEdges } from "./edges.js";
import { type Scene, sliceEnd } from "./scene.js";

export interface Ground {
  /** The edges from SLICE on; the strongest, in front of the others, are drawn elsewhere. */
  show(scene: Scene | null): void;
  stop(): void;
}

/** Whether edges look the same in both; which of them are drawn may differ. */
function alike(a: Scene | null, b: Scene | null): boolean {
  return (
    a !== null &&
    a.routes === b?.routes &&
    a.layout === b.layout &&
    a.palette === b.palette &&
    a.weight === b.weight &&
    a.hues === b.hues
  );
}

/**
 * Where only the threshold has moved, more edges are added to those there are; for fewer, drawing goes on from one of
 * the pictures kept on the way.
 */
export function groundOf(canvas: HTMLCanvasElement, c: CanvasRenderingContext2D, clear: () => void): Ground {
  let stop = () => {};
  let shown: Scene | null = null;
  let drawn = 0; // edges of the order, of which the first SLICE are not here
  let kept: { n: number; picture: HTMLCanvasElement }[] = [];
  const keep = () => {
    const picture = document.createElement("canvas");
    picture.width = canvas.width;
    picture.height = canvas.height;
    picture.getContext("2d")?.drawImage(canvas, 0, 0);
    kept.push({ n: drawn, picture });
  };
  const goBack = (s: Scene) => {
    clear();
    kept = kept.filter(({ n }) => n <= s.n_drawn);
    const last = kept.at(-1);
    drawn = last?.n ?? 0;
    if (last) {
      c.save();
      c.resetTransform();
      c.drawImage(last.picture, 0, 0, canvas.width, canvas.height);
      c.restore();
    } else {
      drawGrid(canvasPen(c), s);
      drawLabels(canvasPen(c), s);
    }
  };
  return {
    show(s) {
      stop();
      const same = alike(s, shown);
      shown = s;
      if (!same) kept = [];
      if (!s) clear();
      else if (!same || drawn > s.n_drawn) goBack(s);
      if (!s) return;
      const first = sliceEnd(s, 0, SLICE);
      stop = progressive(Math.max(first, drawn), s.n_drawn, (from, most) => {
        const to = sliceEnd(s, from, most);
        drawEdges(canvasPen(c), s, from, to);
        drawn = to;
        if (to > 4 * (kept.at(-1)?.n ?? first)) keep();
        return to;
      });
    },
    stop: () => stop(),
  };
}
