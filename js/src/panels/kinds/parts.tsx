// What several kinds of answers show: sections, the foil, the tokens of an update.
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Answer, Update } from "../../core/answers.js";
import type { Graph } from "../../core/graph.js";
import { visible } from "../../core/names.js";
import type { Selection } from "../../core/select.js";
import type { Store } from "../../model.js";
import * as words from "../../words.js";
import { effectTokens } from "../explain.js";
import { UpdateTables } from "../table.js";

export interface Shown<A extends Answer> {
  store: Store;
  g: Graph;
  answer: A;
  go: (selection: Selection) => void; // selects from inside the panel
}

export function Section({ title, beside, children }: { title: string; beside?: ComponentChildren; children: ComponentChildren }) {
  return (
    <section>
      <div class="head">
        <h3>{title}</h3>
        {beside}
      </div>
      {children}
    </section>
  );
}

export function UpdateSection({ title, update, beside }: { title: string; update: Update | null; beside?: ComponentChildren }) {
  return (
    <Section title={title} beside={beside}>
      {update ? <UpdateTables update={update} /> : <p class="note">{words.noReadout}</p>}
    </Section>
  );
}

/** The token effects are on, and a field for one to contrast it with. */
export function Foil({ store, answer: { effect_on } }: { store: Store; answer: Answer }) {
  const field = useRef<HTMLInputElement>(null);
  const foil = visible(effect_on?.foil?.text ?? "");
  const wanted = store.traits.foil.value;
  useLayoutEffect(() => {
    if (field.current) field.current.value = wanted === null ? "" : foil;
  }, [foil, wanted]);
  if (!effect_on) return null;
  const commit = () => {
    const typed = field.current?.value ?? "";
    if (typed !== foil) store.write("foil", typed === "" ? null : typed);
  };
  return (
    <p class="foil note">
      <span>
        {words.effectsOn}
        <b class="mono">{visible(effect_on.token.text)}</b>
      </span>
      <label>
        {words.foil}
        <input
          ref={field}
          class="mono"
          type="text"
          aria-label={words.foilTitle}
          title={words.foilTitle}
          placeholder={words.foilHint}
          readOnly={store.offline}
          spellcheck={false}
          autocomplete="off"
          onChange={commit}
          onKeyDown={(event) => {
            if (event.key === "Enter") commit();
          }}
        />
      </label>
    </p>
  );
}

export function effectTitle({ effect_on }: Answer): string | undefined {
  return effect_on ? words.effectTitle(effectTokens(effect_on)) : undefined;
}
