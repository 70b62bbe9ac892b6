// The token that direct effects are on, and the one it is held against.
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Answer } from "../core/answer.js";
import { effectTokens } from "../core/formula.js";
import type { Graph } from "../core/graph.js";
import { nextToken, tokenText, visible } from "../core/names.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

/** What the effects of an answer are on. */
export function Foil({ store, answer: { effect_on } }: { store: Store; answer: Answer }) {
  if (!effect_on) return null;
  const { token, foil } = effect_on;
  return <Tokens store={store} before={words.effectsOn} token={visible(token.text)} foil={foil ? visible(foil.text) : ""} />;
}

const SPACE = "·";

interface TokensProps {
  store: Store;
  before: string;
  token: string;
  foil: string; // empty for none
  taken?: () => void; // hears of a choice
}

/** The token explained, and another one rather than which: fields where a model answers. */
export function Tokens({ store, before, token, foil, taken }: TokensProps) {
  const is_live = LIVE && !store.offline;
  const shown = { token, foil };
  const g = store.graph.value as Graph;
  const name = (text: string) => <b class="mono">{text}</b>;
  const likely = is_live ? candidates(store, g) : [];
  return (
    <>
      <p class="foil note">
        {before}
        {is_live ? <TokenField store={store} trait="token" shown={token} likely={likely} taken={taken} /> : name(token)}
        {(is_live || foil) && words.foil}
        {is_live ? <TokenField store={store} trait="foil" shown={foil} likely={likely} taken={taken} /> : name(foil)}
        {LIVE && (
          <datalist id="likely">{store.settled.value && likely.map((text) => <option key={text} value={text} />)}</datalist>
        )}
      </p>
      {is_live &&
        (["token", "foil"] as const).map((trait) => {
          const [text, beside] = [shown[trait], trait === "foil" ? token : nextToken(g, store.target.value, 0)?.text];
          if (!text || text.startsWith(SPACE) || !beside?.startsWith(SPACE)) return null;
          return (
            <p key={trait} class="foil-warning note" role="status">
              {words.withoutSpace(text)}{" "}
              <button type="button" class="more" onClick={() => store.write(trait, ` ${text}`)}>
                {words.take(SPACE + text)}
              </button>
            </p>
          );
        })}
    </>
  );
}

interface TokenFieldProps {
  store: Store;
  trait: "token" | "foil";
  shown: string;
  likely: string[];
  taken?: () => void;
}

/** A field for a token of the vocabulary; empty for none, which is the model's own where one is explained. */
function TokenField({ store, trait, shown, likely, taken }: TokenFieldProps) {
  const field = useRef<HTMLInputElement>(null);
  const put = () => {
    if (field.current) field.current.value = shown;
  };
  useLayoutEffect(put, [shown]);
  const commit = () => {
    const typed = field.current?.value; // none where the panel has gone on, which a field hears as a change
    if (typed === undefined || typed === shown) return;
    // A word of the text begins with its space; the same letters without it are quite another token.
    const known = likely.includes(SPACE + typed) && !likely.includes(typed);
    store.write(trait, typed === "" ? null : known ? SPACE + typed : typed);
    if (!typed || SPACE + typed === shown) put();
    taken?.();
  };
  const title = trait === "foil" ? words.foilTitle : words.tokenTitle;
  return (
    <input
      ref={field}
      class="mono"
      type="text"
      list="likely"
      aria-label={title}
      title={title}
      placeholder={words.foilHint}
      spellcheck={false}
      autocomplete="off"
      onFocus={(event) => event.currentTarget.select()}
      onInput={(event) => store.write("typed", event.currentTarget.value, 150)}
      onChange={commit}
      onKeyDown={(event) => {
        if (event.key === "Enter") commit();
      }}
    />
  );
}

const MOST = 60;

/** What may be meant: what begins as was typed, then the likeliest next tokens and those of the prompt, with their space first. */
function candidates(store: Store, g: Graph): string[] {
  const next = Array.from({ length: g.n_next }, (_, rank) => nextToken(g, store.target.value, rank)?.text ?? "");
  const own = g.meta.tokens.text.map((_, pos) => tokenText(g, pos));
  own.sort((a, b) => Number(b.startsWith(SPACE)) - Number(a.startsWith(SPACE)));
  const all = new Set([...store.traits.completions.value.map(visible), ...next, ...own]);
  return [...all].filter(Boolean).slice(0, MOST);
}

export function effectTitle({ effect_on }: Answer): string | undefined {
  return effect_on ? words.effectTitle(effectTokens(effect_on)) : undefined;
}
