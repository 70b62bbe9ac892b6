// Where the reader looks: the camera after zooming, after fitting, after walking out of view.
import { type Camera, HOME } from "../../core/camera.js";
import type { Item } from "../../core/select.js";
import { FIRST_COLUMN, type Layout, ZOOM } from "./layout.js";
import { columnsOf, type Scene } from "./scene.js";

/** The camera after zooming columns, or rows, by `factor` with the content under (px, py) staying where it is. */
export function zoomAt(
  { camera, fit, fit_rows, ...layout }: Layout,
  factor: number,
  px: number,
  py: number,
  of_rows = false,
): Camera {
  const { zoom, rows, x, y } = camera;
  const within = (least: number, wanted: number) => Math.min(ZOOM.max, Math.max(least, wanted));
  if (of_rows) {
    const f = within(fit_rows, rows * factor) / rows;
    const y0 = layout.bottom - 10;
    return { zoom, rows: rows * f, x, y: py - y0 - f * (py - y0 - y) };
  }
  const f = within(fit, zoom * factor) / zoom;
  const x0 = layout.left + FIRST_COLUMN;
  return { zoom: zoom * f, rows, x: px - x0 - f * (px - x0 - x), y };
}

/** The camera that begins at so much of the width. */
export function seenFrom(layout: Layout, from: number): Camera {
  const { seen, camera, column_gap, columns } = layout;
  return seen ? { ...camera, x: -from * (columns.n_slots - 1) * column_gap } : camera;
}

/** Everything in view; where it is already, the natural size. */
export function fitted(layout: Layout | undefined, now: Camera): Camera {
  const smaller = layout && (layout.fit < 1 || layout.fit_rows < 1);
  return smaller && now.zoom === 1 ? { zoom: layout.fit, rows: layout.fit_rows, x: null, y: null } : HOME;
}

/** Moved just enough to show an item; null where it is in view. */
export function revealing({ layout, g }: Scene, item: Item): Camera | null {
  const x = layout.x[columnsOf(g, item)[0]];
  const y = item.kind === "token" ? layout.y[0] : layout.node_y[item.kind === "edge" ? g.entered[item.edge] : item.node];
  const dx = x < layout.left + 8 ? layout.left + 24 - x : x > layout.right - 8 ? layout.right - 24 - x : 0;
  const dy = y < layout.top ? layout.top + 12 - y : y > layout.bottom ? layout.bottom - 12 - y : 0;
  const { camera } = layout;
  return dx || dy ? { ...camera, x: camera.x + dx, y: camera.y + dy } : null;
}
