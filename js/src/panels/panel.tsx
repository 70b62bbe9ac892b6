// The panel at the right: what is selected or how to read, and what is under the pointer.

import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { Crumbs } from "./crumbs.js";
import { ModelPanel } from "./model.js";
import { Overview } from "./overview.js";
import { Selected } from "./selected.js";

export function Panel({ store }: { store: Store }) {
  const selection = store.traits.selection.value;
  const g = store.graph.value;
  const keys = (event: KeyboardEvent) => {
    const panel = event.currentTarget as HTMLElement;
    if (!selection || (event.target as Element).matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "p") store.togglePin();
    if (event.key === "x") store.cut(selection);
    if (event.key === "u") store.undo();
    if (event.key !== "Escape") return;
    store.back();
    const inside = store.traits.selection.peek() ? panel.querySelector("h3") : null;
    (inside ?? (panel.getRootNode() as ShadowRoot).querySelector<HTMLElement>(".flow"))?.focus();
  };
  return (
    <aside class="panel" aria-label={words.panelToggle} onKeyDown={keys}>
      {selection && !store.about.value && <Crumbs store={store} />}
      <div class="panel-body" tabIndex={-1}>
        {store.about.value && g ? (
          <ModelPanel store={store} g={g} />
        ) : selection ? (
          <Selected store={store} selection={selection} />
        ) : (
          <Overview store={store} />
        )}
      </div>
    </aside>
  );
}
