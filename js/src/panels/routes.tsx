// The routes as a table, for those who cannot see the picture; what is typed above it finds a token, a layer or a head.

import { useSignal } from "@preact/signals";
import { Table } from "../controls/table.js";
import { EdgeKind, type Graph } from "../core/graph.js";
import { edgeName } from "../core/names.js";
import { percent } from "../core/numbers.js";
import { selectionOf } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

const MOST = 50;

export function RoutesTable({ store, g }: { store: Store; g: Graph }) {
  const wanted = useSignal<string[]>([]);
  const by = useSignal(2); // the column that sorts: 1 share, 2 flow
  const routes = store.routes.value;
  if (!routes) return null;
  const name = (e: number) => edgeName(g, e) + (g.kind[e] === EdgeKind.attention ? ` · H${g.head[e]}` : "");
  const found: number[] = [];
  for (const e of routes.order) {
    if (routes.strength[e] <= store.threshold.value || found.length === MOST) break;
    const text = name(e).toLowerCase();
    if (g.kind[e] !== EdgeKind.read && wanted.value.every((word) => text.includes(word))) found.push(e);
  }
  const sizes = [g.share_sum, routes.flow];
  found.sort((a, b) => sizes[by.value - 1][b] - sizes[by.value - 1][a]);
  const column = (n: number, head: string) => ({
    head,
    cell: (i: number) => percent(sizes[n - 1][found[i]]),
    sorted: by.value === n,
    sort: () => {
      by.value = n;
    },
  });
  return (
    <section>
      <h3>{words.routesTitle}</h3>
      <input
        type="text"
        class="mono find"
        aria-label={words.filter}
        placeholder={words.filter}
        onInput={(event) => {
          wanted.value = event.currentTarget.value.toLowerCase().split(/\s+/);
        }}
      />
      <Table
        store={store}
        caption={words.routesTitle}
        mono
        n={found.length}
        few={8}
        name={(i) => name(found[i])}
        item={(i) => ({ kind: "edge", edge: found[i] })}
        pick={(i) => () => store.setSelection(selectionOf(store.kinds, g, { kind: "edge", edge: found[i] }))}
        columns={[{ head: words.edge, left: true, cell: () => "" }, column(1, words.share), column(2, words.flow)]}
      />
    </section>
  );
}
