// The way from what is selected to what the model would say without it.
import type { Graph } from "../core/graph.js";
import { partOf, type Selection } from "../core/select.js";

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

export function WhatIf({ g, question, go }: { g: Graph; question: Selection; go: (next: Selection) => void }) {
  const asked = whatIf(g, question);
  if (!asked) return null;
  return (
    <p class="note">
      <button type="button" class="more what-if" title={own.title} onClick={() => go(asked)}>
        {own.ask}
      </button>
    </p>
  );
}
