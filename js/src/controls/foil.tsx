// The token that direct effects are on, and the one they are held against.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Answer } from "../core/answer.js";
import { effectTokens } from "../core/formula.js";
import type { Graph } from "../core/graph.js";
import { nextToken, tokenText, visible } from "../core/names.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

/** The token effects are on, and a field for one to contrast it with. */
export function Foil({ store, answer: { effect_on } }: { store: Store; answer: Answer }) {
  if (!effect_on) return null;
  const foil = effect_on.foil && visible(effect_on.foil.text);
  const token = visible(effect_on.token.text);
  return (
    <>
      <p class="foil note">
        <span>
          {words.effectsOn}
          <b class="mono">{token}</b>
        </span>
        {LIVE && !store.offline && <FoilField store={store} shown={foil ?? ""} />}
        {(!LIVE || store.offline) && foil && (
          <span>
            {words.foil} <b class="mono">{foil}</b>
          </span>
        )}
      </p>
      {LIVE && foil && token.startsWith(SPACE) && !foil.startsWith(SPACE) && !store.offline && (
        <p class="foil-warning note" role="status">
          {words.withoutSpace(foil)}{" "}
          <button type="button" class="more" onClick={() => store.write("foil", ` ${foil}`)}>
            {words.take(SPACE + foil)}
          </button>
        </p>
      )}
    </>
  );
}

const SPACE = "·";

/** A field for the foil, completed from the tokens that are likely here and those of the prompt; `taken` hears of a choice. */
export function FoilField({ store, shown, taken }: { store: Store; shown: string; taken?: () => void }) {
  const field = useRef<HTMLInputElement>(null);
  const [g, wanted] = [store.graph.value, store.traits.foil.value];
  const likely = g ? candidates(g, store.target.value) : [];
  useLayoutEffect(() => {
    if (field.current) field.current.value = wanted === null ? "" : shown;
  }, [shown, wanted]);
  const commit = () => {
    const typed = field.current?.value ?? "";
    if (typed === shown || (typed === "" && wanted === null)) return;
    // A word of the text begins with its space; the same letters without it are quite another token.
    const known = likely.includes(SPACE + typed) && !likely.includes(typed);
    store.write("foil", typed === "" ? null : known ? SPACE + typed : typed);
    taken?.();
  };
  return (
    <label>
      {words.foil}
      <input
        ref={field}
        class="mono"
        type="text"
        list="likely-foils"
        aria-label={words.foilTitle}
        title={words.foilTitle}
        placeholder={words.foilHint}
        spellcheck={false}
        autocomplete="off"
        onChange={commit}
        onKeyDown={(event) => {
          if (event.key === "Enter") commit();
        }}
      />
      <datalist id="likely-foils">{store.settled.value && likely.map((text) => <option key={text} value={text} />)}</datalist>
    </label>
  );
}

const MOST = 60;

/** What may be meant: the likeliest next tokens, then those of the prompt, with their space first. */
function candidates(g: Graph, target: number): string[] {
  const next = Array.from({ length: g.n_next }, (_, rank) => nextToken(g, target, rank)?.text ?? "").slice(1);
  const own = g.meta.tokens.text.map((_, pos) => tokenText(g, pos));
  own.sort((a, b) => Number(b.startsWith(SPACE)) - Number(a.startsWith(SPACE)));
  return [...new Set([...next, ...own])].filter(Boolean).slice(0, MOST);
}

export function effectTitle({ effect_on }: Answer): string | undefined {
  return effect_on ? words.effectTitle(effectTokens(effect_on)) : undefined;
}
