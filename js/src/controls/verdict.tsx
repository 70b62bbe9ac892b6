// What an edit did to the prediction: one sentence, and the tokens that moved.
import type { Judged, Tokens } from "../core/answers.js";
import { visible } from "../core/names.js";
import { largest, percent, signedText } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { Section } from "./section.js";
import { Amount, Table } from "./table.js";

/** "·Mary goes from 98.6% to 41.0%; log odds against ·John +8.70 → +1.90 (−6.80, exact)." */
export function verdictOf({ effect_on, p_before, p, odds_before, odds }: Judged): string {
  if (!effect_on) return "";
  const { token, foil } = effect_on;
  const figures = [odds_before, odds, odds - odds_before].map(signedText);
  return words.verdict(visible(token.text), percent(p_before), percent(p), figures, foil && visible(foil.text));
}

/** "·Mary 98.6% → 41.0%" */
export function goesTo({ effect_on, p_before, p }: Judged): string {
  return effect_on ? words.goesTo(visible(effect_on.token.text), percent(p_before), percent(p)) : "";
}

export function MovedTokens({ store, moved }: { store: Store; moved: Tokens }) {
  const of = largest(moved.score);
  return (
    <Section title={words.tokensMoved}>
      <Table
        store={store}
        caption={words.tokensMoved}
        mono
        n={moved.id.length}
        columns={[
          { head: words.token, left: true, cell: (i) => visible(moved.text[i]) },
          { head: words.after, cell: (i) => moved.p && percent(moved.p[i]) },
          {
            head: words.by,
            cell: (i) => (
              <Amount
                value={Math.abs(moved.score[i])}
                of={of}
                text={`${moved.score[i] < 0 ? "−" : "+"}${percent(Math.abs(moved.score[i]))}`}
                colour={moved.score[i] < 0 ? "minus" : "plus"}
              />
            ),
          },
        ]}
      />
    </Section>
  );
}
