// The picture for Python, in an engine without a DOM: the layout, strokes and SVG pen of the screen.

import encodings from "registered:encodings";
import { HOME } from "./core/camera.js";
import { buildGraph, type GraphMeta } from "./core/graph.js";
import { columns } from "./core/order.js";
import { busyColumns, drawnCount, type Settings, trace } from "./core/routes.js";
import { paletteOf } from "./paint/colour.js";
import { BY_KIND, encodingOf } from "./paint/encoding.js";
import { svgText } from "./views/flow/figure.js";
import { layoutGraph } from "./views/flow/layout.js";
import { unpack } from "./wire.js";

interface Options extends Settings {
  target: number; // a position
  threshold: number | null; // null is automatic
  encoding: string;
  fold: boolean;
  dark: boolean;
  width: number; // px
  height: number;
}

/** A packed graph (base64) as an SVG file's text; `options` is JSON. */
export function figure(graph: string, options: string): string {
  const o: Options = JSON.parse(options);
  const container = unpack<GraphMeta>(bytesOf(graph), "graph");
  if (!container) throw new Error("there is no graph to draw");
  const g = buildGraph(container);
  const encoding = encodingOf(encodings, o.encoding);
  const routes = trace(g, o.target, encoding, o);
  const threshold = o.threshold ?? routes.automatic;
  const cols = columns(busyColumns(g, routes, threshold), o.fold);
  return svgText({
    g,
    routes,
    layout: layoutGraph(g, cols, o.width, o.height, HOME, o.target),
    palette: paletteOf(o.dark),
    threshold,
    n_drawn: drawnCount(routes, threshold),
    weight: encoding.weight(g, routes, () => threshold, o),
    hues: encoding.hues ?? BY_KIND,
  });
}

function bytesOf(base64: string): Uint8Array {
  const text = atob(base64);
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

// The engine has no TextDecoder; headers from Python are ASCII.
globalThis.TextDecoder ??= class {
  decode(bytes: Uint8Array): string {
    let text = "";
    for (const byte of bytes) text += String.fromCharCode(byte);
    return text;
  }
} as unknown as typeof TextDecoder;
