// What was carried on, a mixer, a token, the model.
import type { CarriedAnswer, MixerAnswer, TokenAnswer } from "../../core/answers.js";
import type { Graph } from "../../core/graph.js";
import { count, percent, visible } from "../../core/names.js";
import type { Store } from "../../model.js";
import * as words from "../../words.js";
import { Close } from "../close.js";
import { Foil, Section, type Shown, UpdateSection } from "./parts.js";
import { Lens } from "./state.js";

export function CarriedPanel({ store, answer }: Shown<CarriedAnswer>) {
  return (
    <>
      <Foil store={store} answer={answer} />
      {answer.steps.length === 0 ? (
        <p class="note">{words.unchanged}</p>
      ) : (
        <Section title={words.steps}>
          <ol>
            {answer.steps.map((step) => (
              <li key={step} class="note">
                {step}
              </li>
            ))}
          </ol>
        </Section>
      )}
    </>
  );
}

export function MixerPanel({ store, answer }: Shown<MixerAnswer>) {
  return (
    <>
      <Foil store={store} answer={answer} />
      <p class="how">{answer.why}</p>
      <UpdateSection title={words.updateTitle(words.thePart(words.mixerPart))} update={answer.update} />
    </>
  );
}

export function TokenPanel({ store, answer: { p, rank, next } }: Shown<TokenAnswer>) {
  return (
    <>
      <p class="how">{p === null || rank === null ? words.first : words.prior(percent(p), rank)}</p>
      <Section title={words.nextTokens}>
        <Lens store={store} lens={next} caption={words.nextTokens} />
      </Section>
    </>
  );
}

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
        <h3 tabIndex={-1}>{words.titlesOf.model(model.line)}</h3>
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
