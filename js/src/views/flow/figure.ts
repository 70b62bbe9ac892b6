// The whole picture with one pen, for a file: the strokes of the screen; no DOM.
import { stateName, tokenText } from "../../core/names.js";
import { type Pen, svgPen } from "../../paint/pen.js";
import { drawGrid, drawLabels } from "./axes.js";
import { drawEdges } from "./edges.js";
import { drawNodes, drawTarget } from "./nodes.js";
import type { Scene } from "./scene.js";

/** The whole figure, as in the window. */
export function drawFigure(pen: Pen, scene: Scene): void {
  drawGrid(pen, scene);
  drawEdges(pen, scene, 0, scene.n_drawn);
  drawNodes(pen, scene);
  drawLabels(pen, scene);
  drawTarget(pen, scene);
}

/** One sentence for the file's title. */
export function figureTitle({ g, routes }: Scene): string {
  return `Information flow routes to ${tokenText(g, routes.target)} (${stateName(g, g.S - 1)}), ${g.meta.model.line}`;
}

/** The picture as an SVG file's text. */
export function svgText(scene: Scene): string {
  const pen = svgPen(scene.layout.width, scene.layout.height, scene.palette.background, figureTitle(scene));
  drawFigure(pen, scene);
  return pen.toString();
}
