// The answer in words about this prompt: every noun shows its mark in the picture, and opens it.
import { hovering } from "../controls/table.js";
import { selectionOf } from "../core/select.js";
import type { Piece } from "../core/sentence.js";
import { sentences } from "../core/sentence.js";
import type { Store } from "../store/store.js";

export function Sentence({ store }: { store: Store }) {
  const [g, routes] = [store.graph.value, store.routes.value];
  if (!g || !routes) return null;
  return (
    <div class="sentence">
      {sentences(g, routes).map((pieces, i) => (
        <p key={i} class={i ? "" : "first"}>
          {pieces.map((piece, k) => (
            <Part key={k} store={store} piece={piece} />
          ))}
        </p>
      ))}
    </div>
  );
}

function Part({ store, piece }: { store: Store; piece: Piece }) {
  const g = store.graph.value;
  if (typeof piece === "string" || !g) return <>{piece}</>;
  const { noun, item } = piece;
  return (
    <button
      type="button"
      class="noun mono"
      onClick={() => store.setSelection(selectionOf(store.kinds, g, item))}
      {...hovering(store, item)}
    >
      {noun}
    </button>
  );
}
