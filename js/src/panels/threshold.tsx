// The slider below which no edge is drawn, and what is drawn above it.
import { useSignal } from "@preact/signals";
import { Toggle } from "../controls/choice.js";
import type { EnoughAnswer } from "../core/answers.js";
import { equal } from "../core/json.js";
import { count, percent, roundPercent } from "../core/numbers.js";
import { EXPLAINED, FEWEST, STEPS, stepAt, thresholdAt, thresholdOf } from "../core/routes.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

export function Threshold({ store }: { store: Store }) {
  const routes = store.routes.value;
  const scale = store.scale.value;
  const threshold = store.threshold.value;
  const automatic = store.traits.threshold.value === null;
  const step = stepAt(scale, threshold);
  const dragged = useSignal<number | null>(null);
  const at = dragged.value ?? step;
  const n = routes ? routes.attention[store.n_drawn.value] : 0;
  const rest = () => {
    dragged.value = null;
    store.sliding.value = false;
  };
  return (
    <>
      <label class="field threshold" title={words.thresholdTitle}>
        <span class="name">{words.threshold}</span>
        <input
          type="range"
          aria-label={words.threshold}
          min={0}
          max={STEPS}
          step={1}
          value={at}
          aria-valuetext={`${percent(threshold)}, ${words.lines(count(n))}`}
          onInput={(event) => {
            const wanted = Number(event.currentTarget.value);
            store.sliding.value = true;
            dragged.value = wanted;
            store.write("threshold", thresholdAt(scale, wanted), 150);
          }}
          onChange={rest}
          onBlur={rest}
        />
      </label>
      <Toggle
        on={automatic}
        text={words.automatic}
        title={store.encoding.value.automaticTitle}
        act={() => {
          rest();
          store.write("threshold", automatic ? threshold : null);
        }}
      />
      <output class="readout">
        <span class="r-threshold">{percent(threshold)}</span>
        <span class="r-edges" title={words.linesTitle}>
          {words.lines(count(n))}
        </span>
        <Explained store={store} />
        {!store.traits.edits.value.length && <Enough store={store} n_lines={n} />}
      </output>
    </>
  );
}

/** How much of what led to the target is drawn; where it is little, a way to more. */
function Explained({ store }: { store: Store }) {
  const [g, routes, shown] = [store.graph.value, store.routes.value, store.shown.value];
  if (!g || !routes || shown === null) return <span class="r-carries">{words.nothingToFollow}</span>;
  const n = routes.attention[store.n_drawn.value];
  const poor = shown < POOR;
  const more = () => store.write("threshold", thresholdOf(g, routes, EXPLAINED, n + 1, 4 * n + FEWEST));
  return (
    <>
      <span class={`r-carries ${poor ? "poor" : ""}`} title={words.shownTitle}>
        {poor && `${words.only} `}
        {roundPercent(shown)}
        {!poor && <span class="path"> {words.ofThePath}</span>} {words.shown}
      </span>
      {poor && (
        <button type="button" class="more poor" onClick={more}>
          {words.showMore}
        </button>
      )}
    </>
  );
}

/** The way to what the drawn lines keep by themselves, and how much of the log odds that is once it is known. */
function Enough({ store, n_lines }: { store: Store; n_lines: number }) {
  const { encoding, reading } = store.traits;
  const asked = { kind: "enough", threshold: store.threshold.value, encoding: encoding.value, reading: reading.value, n_lines };
  const answer = store.answer.value as EnoughAnswer | null;
  const kept = answer && equal(answer.question, asked) && !answer.nothing_to_lose ? answer.kept : null;
  const ask = () => {
    store.setSelection(asked);
    if (LIVE && !store.offline) store.write("verify", true);
  };
  return (
    <button type="button" class="more" title={words.enoughTitle} onClick={ask}>
      {kept == null ? words.enough : words.keeps(`${Math.round(100 * kept)}%`)}
    </button>
  );
}

const POOR = 0.5; // of what led to the target: below this the picture is no explanation
