// Where the reader looks: the camera after zooming, after fitting, after walking out of view.
import { type Camera, HOME } from "../../core/camera.js";
import type { Item } from "../../core/select.js";
import { FIRST_COLUMN, type Layout, ZOOM } from "./layout.js";
import { columnsOf, type Scene } from "./scene.js";

/** The camera after zooming by `factor` with the content under (px, py) staying where it is. */
export function zoomAt(layout: Layout, factor: number, px: number, py: number): Camera {
  const zoom = Math.min(ZOOM.max, Math.max(layout.fit, layout.camera.zoom * factor));
  const f = zoom / layout.camera.zoom;
  const x0 = layout.left + FIRST_COLUMN;
  const y0 = layout.bottom - 10;
  return {
    zoom,
    x: px - x0 - f * (px - x0 - layout.camera.x),
    y: py - y0 - f * (py - y0 - layout.camera.y),
  };
}

/** Everything in view; where it is already, the natural size. */
export function fitted(layout: Layout | undefined, now: Camera): Camera {
  return layout && now.zoom === 1 && layout.fit < 1 ? { zoom: layout.fit, x: null, y: null } : HOME;
}

/** Moved just enough to show an item; null where it is in view. */
export function revealing({ layout, g }: Scene, item: Item): Camera | null {
  const x = layout.x[columnsOf(g, item)[0]];
  const y = item.kind === "token" ? layout.y[0] : layout.node_y[item.kind === "edge" ? g.entered[item.edge] : item.node];
  const dx = x < layout.left + 8 ? layout.left + 24 - x : x > layout.right - 8 ? layout.right - 24 - x : 0;
  const dy = y < layout.top ? layout.top + 12 - y : y > layout.bottom ? layout.bottom - 12 - y : 0;
  const { zoom, x: at_x, y: at_y } = layout.camera;
  return dx || dy ? { zoom, x: at_x + dx, y: at_y + dy } : null;
}
