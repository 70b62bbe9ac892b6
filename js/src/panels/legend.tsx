// What colours and widths mean, in one line and one sentence.
import { percent } from "../core/names.js";
import type { Store } from "../model.js";
import { WIDTH } from "../views/flow/draw.js";
import * as words from "../words.js";

export function Legend({ store }: { store: Store }) {
  const g = store.graph.value;
  const routes = store.routes.value;
  if (!g || !routes) return null;
  const flow = routes.encoding === "flow";
  const kinds = new Set(g.meta.parts.map((p) => p.kind));
  const renormalised = !flow && store.traits.renormalise.value;
  const samples = kinds.has("mixer") || kinds.has("other") ? [0.04, 1] : [0.04, 0.3, 1];
  const what = flow ? words.flow : words.share;
  return (
    <div class="legend">
      <div class="keys">
        {kinds.has("attention") && <Line kind="attention" text={words.attention} />}
        <Line kind="residual" text={words.residual} />
        {kinds.has("mlp") && <Line kind="mlp" text={words.mlp} square="full" />}
        {(kinds.has("mixer") || kinds.has("other")) && <Line kind="mlp" text={words.mixer} square="hollow" />}
        <span class="key scale attention">
          {words.widthIs(what)}
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
              {short(u * routes.top_weight)}
              {u === 1 ? "+" : ""}
            </span>
          ))}
        </span>
      </div>
      <p>{flow ? words.legendFlow : renormalised ? words.legendRenormalised : words.legendShare}</p>
    </div>
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
