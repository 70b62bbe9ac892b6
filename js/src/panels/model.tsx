// What is known of the model, and how exact its decomposition is.
import { Close } from "../controls/close.js";
import { Rows } from "../controls/rows.js";
import { Section } from "../controls/section.js";
import type { Fact } from "../core/facts.js";
import type { Graph } from "../core/graph.js";
import { visible } from "../core/names.js";
import { count } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

/** Needs no kernel: all of it came with the graph. */
export function ModelPanel({ store, g }: { store: Store; g: Graph }) {
  const { model, fidelity } = g.meta;
  const facts = Object.keys(words.modelFacts).flatMap((name): Fact[] => {
    const value = model[name];
    if (value == null) return [];
    return [{ label: words.modelFacts[name], value: typeof value === "number" ? count(value) : visible(value) }];
  });
  const errors = Object.entries(fidelity.identities).map(([label, value]) => ({
    label,
    value: value === null ? "–" : value === 0 ? "0" : value.toExponential(1),
  }));
  return (
    <div class="selected">
      <div class="head">
        <h3 tabIndex={-1}>{words.modelTitle(model.line)}</h3>
        <Close
          act={() => {
            store.about.value = false;
          }}
        />
      </div>
      <Rows rows={facts} />
      <Section title={words.fidelity}>
        <p class="note">{fidelity.text}</p>
        <Rows rows={errors} />
        {fidelity.problems.length > 0 && <h3>{fidelity.exact ? words.notes : words.problems}</h3>}
        {fidelity.problems.map((problem) => (
          <p class="note" key={problem}>
            {problem}
          </p>
        ))}
      </Section>
    </div>
  );
}
