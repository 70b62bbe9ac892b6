// What an update of the residual stream promotes and suppresses.
import { useSignal } from "@preact/signals";
import type { Tokens, Update } from "../core/answers.js";
import { visible } from "../core/names.js";
import { largest, signedText } from "../core/numbers.js";
import * as words from "../words.js";
import { Section } from "./section.js";
import { Amount, More } from "./table.js";

export function UpdateSection({ what, update }: { what: string; update: Update | null }) {
  return (
    <Section title={words.updateTitle(what)}>
      {update ? <UpdateTables update={update} /> : <p class="note">{words.noReadout}</p>}
    </Section>
  );
}

/** What an update raises and lowers most, side by side on one scale. */
export function UpdateTables({ update, few = 8 }: { update: Update; few?: number }) {
  const of = largest([...update.promoted.score, ...update.suppressed.score]);
  const rows = useSignal(false);
  const side = (title: string, list: Tokens) => (
    <table>
      <caption>{title}</caption>
      <thead class="unseen">
        <tr>
          <th scope="col">{words.token}</th>
          <th scope="col">{words.score}</th>
        </tr>
      </thead>
      <tbody>
        {list.id.slice(0, rows.value ? list.id.length : few).map((id, i) => (
          <tr key={id}>
            <td class="txt mono" title={visible(list.text[i])}>
              {visible(list.text[i])}
            </td>
            <td>
              <Amount
                value={Math.abs(list.score[i])}
                of={of}
                text={signedText(list.score[i])}
                colour={list.score[i] < 0 ? "minus" : "plus"}
              />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
  const n = Math.max(update.promoted.id.length, update.suppressed.id.length);
  return (
    <div class="table">
      <div class="sides">
        {side(words.promoted, update.promoted)}
        {side(words.suppressed, update.suppressed)}
      </div>
      <More open={rows} n={n - few} />
    </div>
  );
}
