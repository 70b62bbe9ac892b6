// What colours and widths mean, in one line and one sentence.
import type { Graph } from "../core/graph.js";
import { percent } from "../core/numbers.js";
import type { Routes, Settings } from "../core/routes.js";
import { type Palette, paletteOf } from "../paint/colour.js";
import { BY_KIND, type Encoding, type Hues } from "../paint/encoding.js";
import type { Store } from "../store/store.js";
import { lineWidth } from "../views/flow/scene.js";
import * as words from "../words.js";

interface Meaning {
  names: { text: string; colour: string; square?: "full" | "hollow"; cut?: boolean }[];
  widths: [weight: number, text: string][]; // none where no line reaches the target
}

/** What colours and widths stand for in a picture, full width for `top_weight`. */
export function meaningOf(
  g: Graph,
  routes: Routes,
  palette: Palette,
  hues: Hues,
  { scale }: Encoding,
  settings: Settings,
  top_weight: number,
  is_edited: boolean,
): Meaning {
  const has = (...wanted: string[]) => g.meta.parts.some(({ kind }) => wanted.includes(kind));
  const ends = has("mixer", "other");
  const { attention, residual, mlp } = palette;
  const by_kind: Meaning["names"] = [
    ...(has("attention") ? [{ text: words.attention, colour: attention }] : []),
    { text: words.residual, colour: residual },
    ...(has("mlp") ? [{ text: words.mlp, colour: mlp, square: "full" as const }] : []),
    ...(ends ? [{ text: words.mixer, colour: mlp, square: "hollow" as const }] : []),
  ];
  const amount = scale?.(g, routes, settings) ?? short;
  const samples = top_weight <= 0 ? [] : ends ? [0.04, 1] : [0.04, 0.3, 1];
  const names = hues === BY_KIND ? by_kind : hues.names.map((text, hue) => ({ text, colour: hues.colour(palette, hue) }));
  return {
    names: is_edited ? [...names, { text: words.editedHere, colour: palette.lost, cut: true }] : names,
    widths: samples.map((u) => [u * top_weight, amount(u * top_weight) + (u === 1 ? "+" : "")]),
  };
}

export function Legend({ store }: { store: Store }) {
  const [g, routes, encoding, settings] = [store.graph.value, store.routes.value, store.encoding.value, store.settings.value];
  if (!g || !routes) return null;
  const top = store.top_weight.value;
  const is_edited = store.places.value.length > 0;
  const palette = paletteOf(store.dark.value);
  const { names, widths } = meaningOf(g, routes, palette, store.hues.value, encoding, settings, top, is_edited);
  return (
    <div class="legend">
      <div class="keys">
        {names.map(({ text, colour, square, cut }) => (
          <span class="key" key={text} style={{ color: colour }}>
            <svg width="18" height="10" aria-hidden="true">
              {square !== "hollow" && !cut && <path d="M1 5h16" stroke-width="2.4" />}
              {cut && <path d="M1 5h2m10 0h4M6 2l6 6m0-6-6 6" stroke-width="1.6" />}
              {square && <rect class={square} x="5.5" y="1.5" width="7" height="7" />}
            </svg>
            <span class="muted">{text}</span>
          </span>
        ))}
        {widths.length > 0 && (
          <span class="key scale">
            {words.widthIs(encoding.label)}
            {widths.map(([weight, text]) => (
              <span class="key" key={text}>
                <svg width="18" height="8" aria-hidden="true">
                  <path d="M1 4h16" stroke-width={lineWidth(weight, top)} />
                </svg>
                {text}
              </span>
            ))}
          </span>
        )}
      </div>
      <p>{encoding.legend(settings)}</p>
    </div>
  );
}

/** At most two significant digits: 12%, 3.1%, 0.42%. */
function short(x: number): string {
  const text = percent(x);
  return text.startsWith("<") ? text : `${Number(Number.parseFloat(text).toPrecision(2))}%`;
}
