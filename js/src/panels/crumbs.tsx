// The last five selections, to go back to.

import type { Graph } from "../core/graph.js";
import { edgeName, nodeName, tokenName } from "../core/names.js";
import { type Item, itemOf } from "../core/select.js";
import type { Store } from "../model.js";
import { canonical } from "../offline.js";
import { words } from "../words.js";

export function itemName(g: Graph, item: Item): string {
  if (item.kind === "token") return tokenName(g, item.pos);
  return item.kind === "edge" ? edgeName(g, item.edge) : nodeName(g, item.node);
}

export function Crumbs({ store }: { store: Store }) {
  const g = store.graph.value;
  const now = canonical(store.traits.selection.value);
  return (
    <nav class="crumbs" aria-label={words.crumbs}>
      <ol>
        {store.crumbs.value.map((selection) => {
          const key = canonical(selection);
          const item = g && itemOf(g, selection);
          const name = g && item ? itemName(g, item) : selection.kind;
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
      <button
        type="button"
        class="icon close"
        aria-label={words.close}
        title={`${words.back} (Esc)`}
        onClick={() => store.setSelection(null)}
      >
        <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
          <path d="M2 2l8 8M10 2l-8 8" />
        </svg>
      </button>
    </nav>
  );
}
