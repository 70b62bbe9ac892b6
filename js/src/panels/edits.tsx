// The edits of the pass on show, above the picture: each can be changed and taken back; what they did, in a sentence.
import { Choice } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import { goesTo, verdictOf } from "../controls/verdict.js";
import { EDITS, type Edit, questionOf, writerName } from "../core/edits.js";
import type { Graph } from "../core/graph.js";
import { canonical, equal } from "../core/json.js";
import type { Selection } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { selectionName } from "./crumbs.js";
import { promptLabel } from "./prompt.js";

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
            <button type="button" class="opener" onClick={() => store.setSelection(questionOf(edit, store.target.peek()))}>
              {nameOf(g, edit.selection)}
            </button>
            {may && <Instead store={store} edit={edit} put={(now) => put(i, now)} />}
            {may && <Close act={() => put(i)} title={words.takeBack} />}
          </li>
        ))}
      </ul>
      {verdict && (
        <button type="button" class="noun" title={verdictOf(verdict)} onClick={() => store.setSelection(EDITS)}>
          {goesTo(verdict)}
        </button>
      )}
      {may && (
        <button
          type="button"
          title={words.regenerateTitle}
          onClick={() => {
            store.setSelection({ kind: "continued", n_tokens: 8 });
            store.write("verify", true);
          }}
        >
          {words.regenerate}
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

/** The name of its selection; of a neuron or head at every token its own. */
function nameOf(g: Graph, s: Selection): string {
  const everywhere = s.pos == null && s.query == null && (s.kind === "head" || s.kind === "neuron");
  return everywhere ? `${writerName(g, s)} ${words.everywhere}` : selectionName(g, s);
}

type Value = Pick<Edit, "to" | "renormalise">;

/** What stands in the place of what was edited: a number, the mean, another prompt's, or what is left of the row. */
function Instead({ store, edit, put }: { store: Store; edit: Edit; put: (edit: Edit) => void }) {
  const { selection, to, renormalise = false } = edit;
  const { prompt, prompts } = store.traits;
  const options: [Value, string][] = words.instead.map(([to, text]) => [{ to }, text]);
  if (selection.kind === "edge" || selection.kind === "head") options.push([{ to: 0, renormalise: true }, words.knockOut]);
  for (const other of prompts.value)
    if (!equal(other, prompt.value)) options.push([{ to: { prompt: other } }, words.fromPrompt(promptLabel(other))]);
  const now = canonical({ renormalise: false, to, ...(renormalise ? { renormalise } : {}) });
  const values = options.map(([one]) => canonical({ renormalise: false, ...one }));
  const set = typeof to === "object" && "value" in to ? to.value : undefined;
  if (!values.includes(now)) options.push([{ to }, set === undefined ? String(to) : words.setTo]);
  return (
    <>
      <select
        aria-label={words.to}
        value={String(values.includes(now) ? values.indexOf(now) : values.length)}
        onChange={({ currentTarget: { value } }) => put({ selection, renormalise: false, ...options[Number(value)][0] })}
      >
        {options.map(([, text], i) => (
          <option key={text + i} value={String(i)}>
            {text}
          </option>
        ))}
      </select>
      {selection.kind === "neuron" && (
        <input
          type="number"
          step="any"
          aria-label={words.setTo}
          placeholder={words.setTo}
          value={set}
          onChange={({ currentTarget: { value } }) =>
            value && put({ selection, to: { value: Number(value) }, renormalise: false })
          }
        />
      )}
    </>
  );
}
