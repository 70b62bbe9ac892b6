// What colours and widths mean, in one line and one sentence.
import { percent } from "../core/numbers.js";
import { paletteOf } from "../paint/colour.js";
import { BY_KIND } from "../paint/encoding.js";
import type { Store } from "../store/store.js";
import { WIDTH } from "../views/flow/scene.js";
import * as words from "../words.js";

export function Legend({ store }: { store: Store }) {
  const g = store.graph.value;
  const routes = store.routes.value;
  if (!g || !routes) return null;
  const { label, legend, scale } = store.encoding.value;
  const settings = store.settings.value;
  const hues = store.hues.value === BY_KIND ? null : store.hues.value;
  const amount = scale?.(g, routes, settings) ?? short;
  const kinds = new Set(g.meta.parts.map((p) => p.kind));
  const samples = kinds.has("mixer") || kinds.has("other") ? [0.04, 1] : [0.04, 0.3, 1];
  return (
    <div class="legend">
      <div class="keys">
        {hues?.names.map((text, hue) => (
          <Hue key={text} text={text} colour={hues.colour(paletteOf(store.dark.value), hue)} />
        ))}
        {!hues && <Kinds kinds={kinds} />}
        {routes.top_weight > 0 && (
          <span class="key scale attention">
            {words.widthIs(label)}
            {samples.map((u) => (
              <span class="sample" key={u}>
                <svg width="18" height="8" aria-hidden="true">
                  <line
                    x1="1"
                    x2="17"
                    y1="4"
                    y2="4"
                    stroke-width={WIDTH.min + (WIDTH.max - WIDTH.min) * Math.sqrt(u)}
                    stroke-linecap="round"
                  />
                </svg>
                {amount(u * store.top_weight.value)}
                {u === 1 ? "+" : ""}
              </span>
            ))}
          </span>
        )}
      </div>
      <p>{legend(settings)}</p>
    </div>
  );
}

function Kinds({ kinds }: { kinds: Set<string> }) {
  return (
    <>
      {kinds.has("attention") && <Line kind="attention" text={words.attention} />}
      <Line kind="residual" text={words.residual} />
      {kinds.has("mlp") && <Line kind="mlp" text={words.mlp} square="full" />}
      {(kinds.has("mixer") || kinds.has("other")) && <Line kind="mlp" text={words.mixer} square="hollow" />}
    </>
  );
}

function Hue({ text, colour }: { text: string; colour: string }) {
  return (
    <span class="key">
      <svg width="18" height="10" aria-hidden="true">
        <line x1="1" x2="17" y1="5" y2="5" stroke-width="2.4" stroke-linecap="round" style={{ stroke: colour }} />
      </svg>
      {text}
    </span>
  );
}

/** At most two significant digits: 12%, 3.1%, 0.42%. */
function short(x: number): string {
  const text = percent(x);
  return text.startsWith("<") ? text : `${Number(Number.parseFloat(text).toPrecision(2))}%`;
}

function Line({ kind, text, square }: { kind: string; text: string; square?: "full" | "hollow" }) {
  return (
    <span class={`key ${kind}`}>
      <svg width="18" height="10" aria-hidden="true">
        {square !== "hollow" && <line x1="1" x2="17" y1="5" y2="5" stroke-width="2.4" stroke-linecap="round" />}
        {square && <rect class={square} x="5.5" y="1.5" width="7" height="7" />}
      </svg>
      {text}
    </span>
  );
}
