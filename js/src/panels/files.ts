// The picture and the analysis as files, named after the prompt.

import { HOME } from "../core/camera.js";
import { nextToken, tokenText } from "../core/names.js";
import { percent } from "../core/numbers.js";
import { download, type Figure, png } from "../download.js";
import type { Store } from "../store/store.js";
import { type Around, extraHeight, svgText } from "../views/flow/figure.js";
import { layoutGraph } from "../views/flow/layout.js";
import { columnsOf, markOf, type Scene } from "../views/flow/scene.js";
import * as words from "../words.js";
import { meaningOf } from "./legend.js";
import { analysisText } from "./saved.js";

export interface Wanted {
  size: keyof typeof SIZES;
  selection: boolean;
  legend: boolean;
  caption: boolean;
}

/** px; null: as on screen */
export const SIZES = { screen: null, column: [420, 380], page: [720, 460], slide: [1280, 720], post: [1200, 675] } as const;

export function figureOf(store: Store, scene: Scene, wanted: Wanted): Figure {
  const around = aroundOf(store, scene, wanted);
  const size = SIZES[wanted.size];
  const [width, all] = size ?? [scene.layout.width, scene.layout.height];
  const height = size ? all - extraHeight(width, around) : all;
  const { g, layout } = scene;
  const placed = { ...scene, layout: layoutGraph(g, layout.columns, width, Math.max(200, height), HOME, scene.routes.target) };
  const item = wanted.selection ? store.selected.peek() : null;
  const marked = item && { mark: markOf(placed, item, true), columns: columnsOf(g, item) };
  const whole = { ...around, marked };
  return { text: svgText(placed, whole), width, height: placed.layout.height + extraHeight(width, whole) };
}

function aroundOf(store: Store, { g, routes, palette, hues, places }: Scene, wanted: Wanted): Around {
  const [encoding, settings] = [store.encoding.peek(), store.settings.peek()];
  const { names, widths } = meaningOf(g, routes, palette, hues, encoding, settings, routes.top_weight, places.length > 0);
  const next = nextToken(g, routes.target, 0);
  return {
    legend: wanted.legend
      ? {
          names: names.map(({ text, colour, cut }) => [text, colour, cut]),
          widths: widths.map(([weight, text], i) => [weight, i ? text : `${words.widthIs(encoding.label)} ${text}`]),
          says: encoding.legend(settings),
        }
      : null,
    caption: wanted.caption
      ? words.figureCaption(
          g.meta.prompt,
          tokenText(g, routes.target),
          next && `${next.text} (${percent(next.p)})`,
          g.meta.model.line,
        )
      : "",
  };
}

/** Asks the browser to print a figure on a page of its size, which every browser can save as PDF, its text as text. */
function printed({ text, width, height }: Figure, name: string): void {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-same-origin allow-modals");
  frame.style.cssText = "position:fixed;width:0;height:0;border:0";
  frame.srcdoc = `<title>${name}</title><style>@page{size:${width}px ${height}px;margin:0}body{margin:0}svg{display:block}</style>${text}`;
  frame.onload = () => {
    frame.contentWindow?.print();
    setTimeout(() => frame.remove(), 60_000);
  };
  document.body.append(frame);
}

export function save(kind: "svg" | "png" | "pdf", store: Store, scene: Scene | null, wanted: Wanted = AS_SHOWN): void {
  if (!scene) return;
  const figure = figureOf(store, scene, wanted);
  const name = nameOf(scene);
  if (kind === "svg") download(new Blob([figure.text], { type: "image/svg+xml" }), `${name}.svg`);
  else if (kind === "pdf") printed(figure, name);
  else png(figure).then((blob) => download(blob, `${name}.png`));
}

const AS_SHOWN: Wanted = { size: "screen", selection: false, legend: false, caption: false };

export function saveJson(store: Store): void {
  download(new Blob([analysisText(store)], { type: "application/json" }), "flow-routes.json");
}

/** "when-mary-and-john-to": the first words of the prompt and what is explained. */
function nameOf({ g, routes }: Scene): string {
  const said = `${g.meta.prompt.split(/\s+/).slice(0, 4).join(" ")} ${tokenText(g, routes.target)}`;
  return (
    said
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^-|-$/g, "")
      .slice(0, 60) || "flow-routes"
  );
}
