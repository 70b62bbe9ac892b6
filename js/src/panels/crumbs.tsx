// The last five selections, to go back to.

import type { Graph } from "../core/graph.js";
import { edgeName, nodeName, shortName, tokenName } from "../core/names.js";
import { type Item, itemOf } from "../core/select.js";
import type { Store } from "../model.js";
import { canonical } from "../offline.js";
import * as words from "../words.js";
import { Close } from "./close.js";

/** The whole name of a thing in the picture. */
function itemName(g: Graph, item: Item): string {
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
                {g && item ? shortName(g, item) : selection.kind}
              </button>
            </li>
          );
        })}
      </ol>
      <Close act={() => store.setSelection(null)} title={`${words.back} (Esc)`} />
    </nav>
  );
}
