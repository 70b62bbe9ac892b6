// The last five selections, to go back to; the pin.
import type { Graph } from "../core/graph.js";
import { partName, shortName, tokenText } from "../core/names.js";
import { itemOf, partOf, type Selection } from "../core/select.js";
import type { Store } from "../model.js";
import { canonical } from "../offline.js";
import * as words from "../words.js";
import { Toggle } from "./choice.js";
import { Close } from "./close.js";

/** "L7 ·to", "L6 H1 ·John → ·to", "L7 MLP 1203 ·to" */
export function selectionName(g: Graph, s: Selection): string {
  const item = itemOf(g, s);
  if (s.kind === "neuron" && item?.kind === "node") {
    return `${partName(g, partOf(g, s))} ${s.neuron} ${tokenText(g, s.pos)}`;
  }
  if (s.kind === "head" || s.kind === "edge") {
    const layer = g.meta.states[s.state]?.layer ?? "";
    return `L${layer}${s.kind === "head" ? ` H${s.head}` : ""} ${s.key == null ? "" : `${tokenText(g, s.key)} → `}${tokenText(g, s.query)}`;
  }
  return item ? shortName(g, item) : s.kind;
}

export function Crumbs({ store }: { store: Store }) {
  const g = store.graph.value;
  const now = canonical(store.traits.selection.value);
  const pinned = store.traits.pins.value.some((pin) => canonical(pin) === now);
  return (
    <nav class="crumbs" aria-label={words.crumbs}>
      <ol>
        {store.crumbs.value.map((selection) => {
          const key = canonical(selection);
          const name = g ? selectionName(g, selection) : selection.kind;
          return (
            <li key={key}>
              <button
                type="button"
                class="crumb"
                aria-current={key === now}
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
