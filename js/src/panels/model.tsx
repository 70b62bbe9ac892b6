// What is known of the model, and how exact its decomposition is.
import { Close } from "../controls/close.js";
import { Section } from "../controls/section.js";
import type { Graph } from "../core/graph.js";
import { visible } from "../core/names.js";
import { count } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

/** Needs no kernel: all of it came with the graph. */
export function ModelPanel({ store, g }: { store: Store; g: Graph }) {
  const { model, fidelity } = g.meta;
  const facts = Object.keys(words.modelFacts).filter((name) => model[name] != null);
  const pair = (name: string, value: string) => (
    <div key={name}>
      <dt>{name}</dt>
      <dd title={value}>{value}</dd>
    </div>
  );
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
      <dl class="facts">
        {facts.map((name) => {
          const value = model[name];
          return pair(words.modelFacts[name], typeof value === "number" ? count(value) : visible(String(value)));
        })}
      </dl>
      <Section title={words.fidelity}>
        <p class="note">{fidelity.text}</p>
        <dl class="facts">
          {Object.entries(fidelity.identities).map(([name, value]) =>
            pair(name, value === null ? "–" : value === 0 ? "0" : value.toExponential(1)),
          )}
        </dl>
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
