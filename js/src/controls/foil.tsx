// The token that direct effects are on, and the one they are held against.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Answer } from "../core/answer.js";
import { effectTokens } from "../core/formula.js";
import { visible } from "../core/names.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

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
