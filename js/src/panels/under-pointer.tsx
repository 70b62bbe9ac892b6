// What the picture has under the pointer.
import { Rows } from "../controls/rows.js";
import { factsOf } from "../core/facts.js";
import { EdgeKind } from "../core/graph.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

const COLOURS = { [EdgeKind.carried]: "residual", [EdgeKind.attention]: "attention", [EdgeKind.part]: "mlp" } as const;

/** Over the lower end of an answer, which is whole again when the pointer is elsewhere. */
export function UnderPointer({ store, over }: { store: Store; over: boolean }) {
  const [g, routes, item] = [store.graph.value, store.routes.value, store.hover.value];
  const facts = g && routes && item ? factsOf(g, routes, store.weight.value, store.peek.value, item) : null;
  if (over && !facts) return null;
  return (
    <div class={`under-pointer ${over ? "over" : ""}`}>
      {facts ? (
        <>
          <h4>
            <span class={`dot ${facts.edge_kind < 0 ? "plain" : COLOURS[facts.edge_kind as keyof typeof COLOURS]}`} />
            {facts.kind}
            <span class="mono name">{facts.name}</span>
          </h4>
          <Rows rows={facts.rows} />
        </>
      ) : (
        <>
          <p class="note">{words.hoverEmpty}</p>
          <p class="note">{words.hoverKeys}</p>
        </>
      )}
    </div>
  );
}
