// The way from what is selected to what the model would say without it.
import { cutOf } from "../core/edits.js";
import type { Graph } from "../core/graph.js";
import { partOf, type Selection } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

const own = { ask: "What if this were not there?", title: "Run the model again without it, and say what changes" };

/** The question what if a selection were not there; null for what is no part of a sum. */
export function whatIf(g: Graph, { kind, state, query, pos, key, head, neuron, expert, part }: Selection): Selection | null {
  const at = { kind: "cut", state };
  if (kind === "edge") return { ...at, query, key, part: partOf(g, ["attention"], { kind, state, part }) };
  if (kind === "head")
    return { ...at, query, head, ...(key == null ? {} : { key }), part: partOf(g, ["attention"], { kind, state, part }) };
  if (kind === "neuron" && expert == null) return { ...at, query: pos, neuron, part: partOf(g, ["mlp"], { kind, state, part }) };
  if (kind === "mlp") return { ...at, query: pos, part: partOf(g, ["mlp"], { kind, state, part }) };
  if (kind === "mixer") return { ...at, query: pos, part: partOf(g, ["mixer", "other"], { kind, state, part }) };
  return null;
}

interface WhatIfProps {
  store: Store;
  g: Graph;
  question: Selection;
  go: (next: Selection) => void;
}

export function WhatIf({ store, g, question, go }: WhatIfProps) {
  const asked = store.traits.edits.value.length ? null : whatIf(g, question);
  if (!asked && !cutOf(g, question)) return null;
  return (
    <p class="what-if note">
      {asked && (
        <button type="button" class="more" title={own.title} onClick={() => go(asked)}>
          {own.ask}
        </button>
      )}
      {cutOf(g, question) && (
        <button type="button" title={words.cutTitle} onClick={() => store.cut(question)}>
          {words.cutIt} <kbd>x</kbd>
        </button>
      )}
    </p>
  );
}
