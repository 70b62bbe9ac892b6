// The picture for Python, in an engine without a DOM: the layout, strokes and SVG pen of the screen.

import encodings from "registered:encodings";
import type { HeadsAnswer } from "./core/answers.js";
import { HOME } from "./core/camera.js";
import { type Edit, placesOf } from "./core/edits.js";
import { buildGraph, type GraphMeta } from "./core/graph.js";
import { columns } from "./core/order.js";
import { busyColumns, drawnCount, type Settings, trace } from "./core/routes.js";
import { paletteOf } from "./paint/colour.js";
import { encodingOf, huesOf } from "./paint/encoding.js";
import { mapFigure } from "./survey/figure.js";
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
  edits?: Edit[];
}

/** A packed graph (base64) as an SVG file's text; `options` is JSON, `detail` the packed answers that were given. */
export function figure(graph: string, options: string, detail = ""): string {
  const o: Options = JSON.parse(options);
  const container = unpack<GraphMeta>(bytesOf(graph), "graph");
  if (!container) throw new Error("there is no graph to draw");
  const g = buildGraph(container);
  const encoding = encodingOf(encodings, o.encoding);
  const routes = trace(g, o.target, encoding, o);
  o.answer = encoding.asks ? answerIn(bytesOf(detail)) : null;
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
    hues: huesOf(encoding, g, routes, o),
    places: placesOf(g, o.edits ?? []),
  });
}

/** The map of a survey as an SVG file's text; `map` is JSON. */
export function survey(map: string, name: string, title: string, dark: boolean): string {
  return mapFigure(JSON.parse(map), name, title, dark).text;
}

/** The answer that the encoding draws, where it was given. */
function answerIn(detail: Uint8Array): HeadsAnswer | null {
  const message = unpack<{ answers: HeadsAnswer[] }>(detail, "detail");
  const at = message?.meta.answers.findIndex(({ slot, error }) => slot === "encoding" && !error) ?? -1;
  if (!message || at < 0) return null;
  return { ...message.meta.answers[at], maps: { by_key: message.sections[`a${at}.by_key`] } };
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
