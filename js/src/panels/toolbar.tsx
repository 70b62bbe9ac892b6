// The row above the picture: the target, the threshold, how lines are drawn.
import encodings from "registered:encodings";
import { useRef } from "preact/hooks";
import { Choice, Toggle } from "../controls/choice.js";
import { useRoving } from "../controls/roving.js";
import { tokenName } from "../core/names.js";
import { type Control, inPlace } from "../paint/encoding.js";
import type { Store } from "../store/store.js";
import type { FlowView } from "../views/flow/flow.js";
import * as words from "../words.js";
import { Finder } from "./finder.js";
import { Threshold } from "./threshold.js";

export function Toolbar({ store, view }: { store: Store; view: () => FlowView | null }) {
  const g = store.graph.value;
  const box = useRef<HTMLSpanElement>(null);
  const roving = useRoving(box);
  if (!g) return <div class="row toolbar" />;
  const encoding = store.encoding.value;
  const fold = store.traits.view.value.fold;
  return (
    <div class={`row toolbar ${encoding.controls ? "with-settings" : ""}`}>
      <label class="field" title={words.explainTitle}>
        <span class="name">{words.explain}</span>
        <span class="select target">
          <select
            aria-label={words.explain}
            value={String(store.target.value)}
            onChange={(event) => store.setTarget(Number(event.currentTarget.value))}
          >
            {g.meta.tokens.text.map(
              (_, t) =>
                (store.settled.value || t === store.target.value) && (
                  <option key={t} value={String(t)}>
                    {tokenName(g, t)}
                  </option>
                ),
            )}
          </select>
        </span>
      </label>
      <Threshold store={store} />
      <span ref={box} class="how-drawn" role="toolbar" aria-label={words.picture} {...roving}>
        <Choice
          label={words.encoding}
          value={encoding.name}
          options={inPlace(encodings).map(({ name, label, title }) => [name, label, title])}
          pick={store.setEncoding}
        />
        {encoding.controls?.map((control) => (
          <Setting key={control.trait} store={store} control={control} />
        ))}
        <Toggle on={fold} text={words.fold} title={words.foldTitle} act={() => store.setView({ fold: !fold })} />
        <button type="button" title={words.fitTitle} onClick={() => view()?.fit()}>
          {words.fit}
        </button>
        {g.meta.parts.some(({ kind }) => kind === "attention") && (
          <button type="button" title={words.headsTitle} onClick={() => openHeads(store)}>
            {words.heads}
          </button>
        )}
        <Finder store={store} view={view} />
      </span>
    </div>
  );
}

function openHeads(store: Store): void {
  store.about.value = false;
  if (!store.traits.view.peek().panel) store.setView({ panel: true });
  store.setSelection({ kind: "heads" });
}

/** A trait that belongs to the encoding. */
function Setting({ store, control }: { store: Store; control: Control }) {
  const { trait } = control;
  if (trait === "reading") {
    const { label, options } = control;
    const pick = (value: string) => store.write(trait, value as "max" | "sum");
    return <Choice label={label} value={store.traits[trait].value} options={options} pick={pick} />;
  }
  const on = store.traits[trait].value;
  return <Toggle on={on} text={control.text} title={control.title} act={() => store.write(trait, !on)} />;
}
