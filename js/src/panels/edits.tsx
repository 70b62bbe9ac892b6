// The edits of the pass on show, above the picture: each can be changed and taken back; what they did, in a sentence.
import { Choice } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import { goesTo, verdictOf } from "../controls/verdict.js";
import { EDITS, type Edit } from "../core/edits.js";
import { canonical } from "../core/json.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { selectionName } from "./crumbs.js";

export function Edits({ store }: { store: Store }) {
  const [g, edits] = [store.graph.value, store.traits.edits.value];
  if (!g || !edits.length) return null;
  const may = LIVE && !store.offline;
  const verdict = store.verdict.value;
  const side = !store.beside_edits.value ? "after" : store.comparing.value ? "difference" : "both";
  const put = (i: number, ...edit: Edit[]) => store.write("edits", edits.toSpliced(i, 1, ...edit));
  return (
    <div class="row edits" role="group" aria-label={words.edited}>
      <b>{words.edited}</b>
      <ul class="chips">
        {edits.map((edit, i) => (
          <li class="chip" key={canonical(edit) + i}>
            <button type="button" class="opener" onClick={() => store.setSelection(edit.selection)}>
              {selectionName(g, edit.selection)}
            </button>
            {may && <Instead edit={edit} put={(now) => put(i, now)} />}
            {may && <Close act={() => put(i)} title={words.takeBack} />}
          </li>
        ))}
      </ul>
      {verdict && (
        <button type="button" class="noun" title={verdictOf(verdict)} onClick={() => store.setSelection(EDITS)}>
          {goesTo(verdict)}
        </button>
      )}
      <Choice
        label={words.beside}
        value={side}
        options={Object.entries(words.sides)}
        pick={(wanted) => {
          store.beside_edits.value = wanted !== "after";
          store.comparing.value = wanted === "difference";
        }}
      />
    </div>
  );
}

/** What stands in the place of what was edited. */
function Instead({ edit, put }: { edit: Edit; put: (edit: Edit) => void }) {
  const known = words.instead.some(([value]) => value === String(edit.to));
  return (
    <select
      aria-label={words.to}
      value={String(edit.to)}
      onChange={({ currentTarget: { value } }) => put({ ...edit, to: value === "mean" ? value : Number(value) })}
    >
      {[...words.instead, ...(known ? [] : [[String(edit.to), String(edit.to)]])].map(([value, text]) => (
        <option key={value} value={value}>
          {text}
        </option>
      ))}
    </select>
  );
}
