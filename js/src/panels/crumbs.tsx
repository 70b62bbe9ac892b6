// The last five selections, to go back to; the pin.
import { Toggle } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import type { Graph } from "../core/graph.js";
import { canonical, equal } from "../core/json.js";
import { shortName } from "../core/names.js";
import { isHere, itemOf, type Selection } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { KINDS } from "./kinds.js";

/** "L7 ·to", "L6 H1 ·John → ·to", "L7 MLP 1203 ·to" */
export function selectionName(g: Graph, s: Selection): string {
  const item = itemOf(KINDS, g, s);
  const kind = isHere(KINDS, g, s) ? KINDS.get(s.kind) : null;
  return kind?.name?.(g, s) ?? (item ? shortName(g, item) : (kind?.title(g, s) ?? s.kind));
}

export function Crumbs({ store }: { store: Store }) {
  const g = store.graph.value;
  const now = store.traits.selection.value;
  const pinned = store.traits.pins.value.some((pin) => equal(pin, now));
  return (
    <nav class="crumbs" aria-label={words.crumbs}>
      <ol>
        {store.crumbs.value.map((selection) => {
          const name = g ? selectionName(g, selection) : selection.kind;
          return (
            <li key={canonical(selection)}>
              <button
                type="button"
                class="crumb"
                aria-current={equal(selection, now)}
                title={name}
                onClick={() => store.setSelection(selection)}
              >
                {name}
              </button>
            </li>
          );
        })}
      </ol>
      <Toggle on={pinned} text={words.pin} title={pinned ? words.unpin : words.pinTitle} act={store.togglePin} />
      <Close act={() => store.setSelection(null)} title={`${words.back} (Esc)`} />
    </nav>
  );
}
