// An MLP: its experts and neurons. A neuron: when it fires, what it writes.
import type { MlpAnswer, NeuronAnswer } from "../../core/answers.js";
import { expertLabel, neuronLabel, updateOf } from "../../core/join.js";
import { count, percent, tokenName } from "../../core/names.js";
import { sameItem } from "../../core/select.js";
import type { Store } from "../../model.js";
import * as words from "../../words.js";
import { figure, hovering, largest, Signed, shareColumn, signedText, Table } from "../table.js";
import { effectTitle, Foil, Section, type Shown, UpdateSection } from "./parts.js";

const MORE = 20;

export function MlpPanel({ store, answer, go }: Shown<MlpAnswer>) {
  const { neurons, experts, n_neurons, state, pos } = answer;
  const question = answer.question as { part?: number; top?: number };
  const part = question.part === undefined ? {} : { part: question.part };
  const n = neurons.neuron.length;
  const open = (i: number) => {
    const expert = neurons.expert[i];
    go({ kind: "neuron", state, pos, neuron: neurons.neuron[i], ...part, ...(expert === null ? {} : { expert }) });
  };
  const name = (i: number) => neuronLabel(neurons.neuron[i], neurons.expert[i]);
  const most = largest(neurons.effect);
  return (
    <>
      {experts && (
        <Section title={words.expertsTitle}>
          <Table
            store={store}
            caption={words.expertsTitle}
            quiet
            n={experts.expert.length}
            columns={[
              {
                head: words.expert,
                left: true,
                cell: (i) => <span title={experts.label[i]}>{expertLabel(experts.expert[i])}</span>,
              },
              { head: words.weight, cell: (i) => percent(experts.weight[i]) },
              shareColumn(experts.share, "mlp"),
            ]}
          />
        </Section>
      )}
      <Section title={words.neuronsTitle(n, count(n_neurons))}>
        <Foil store={store} answer={answer} />
        <Table
          store={store}
          caption={words.neuronsTitle(n, count(n_neurons))}
          quiet
          n={n}
          name={name}
          pick={(i) => () => open(i)}
          columns={[
            { head: words.neuron, left: true, cell: name },
            shareColumn(neurons.share, "mlp"),
            { head: words.activation, title: words.activationTitle, cell: (i) => signedText(neurons.value[i]) },
            { head: words.effect, title: effectTitle(answer), cell: (i) => <Signed value={neurons.effect[i]} of={most} /> },
          ]}
          more={
            n < n_neurons &&
            !store.offline && (
              <button
                type="button"
                class="more"
                onClick={() => store.setSelection({ kind: "mlp", state, pos, ...part, top: n + MORE })}
              >
                {words.more(Math.min(MORE, n_neurons - n))}
              </button>
            )
          }
        />
      </Section>
      <UpdateSection title={words.updateTitle(words.thePart(words.kinds.mlp))} update={answer.update} />
    </>
  );
}

export function NeuronPanel({ store, g, answer }: Shown<NeuronAnswer>) {
  const { gate, up, maps } = answer;
  return (
    <>
      {gate !== null && up !== null && <p class="note">{words.gated(gate > 0, up > 0)}</p>}
      <Section title={words.stripTitle}>
        <Strip store={store} name={(pos) => tokenName(g, pos)} values={maps.strip as Float32Array} at={answer.pos} />
      </Section>
      <UpdateSection title={words.updateTitle(words.theNeuron)} update={updateOf(answer)} />
    </>
  );
}

/** One bar a token, up or down from zero; the token under the pointer is named below and marked in the picture. */
export function Strip({
  store,
  name,
  values,
  at,
}: {
  store: Store;
  name: (pos: number) => string;
  values: Float32Array;
  at: number;
}) {
  const most = largest([...values]);
  const { hover } = store;
  const pointed = hover.value?.kind === "token" ? hover.value.pos : at;
  const step = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    hover.value = { kind: "token", pos: Math.max(0, Math.min(values.length - 1, pointed + by)) };
  };
  return (
    <>
      <div
        class="strip"
        role="application"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the strip is one stop of the Tab order, its arrows walk the tokens
        tabIndex={0}
        aria-label={`${words.stripTitle}. ${name(pointed)}: ${signedText(values[pointed])}`}
        onKeyDown={step}
      >
        {Array.from(values, (value, pos) => {
          const item = { kind: "token" as const, pos };
          return (
            <span
              key={pos}
              class={`${pos === at ? "at" : ""} ${sameItem(hover.value, item) ? "lit" : ""}`}
              {...hovering(store, item)}
            >
              <i class={value < 0 ? "minus" : "plus"} style={{ height: `${(50 * Math.abs(value)) / (most || 1)}%` }} />
            </span>
          );
        })}
      </div>
      <p class="under-map note">
        <span class="mono">{name(pointed)}</span>
        <span class="number">
          {signedText(values[pointed])} <span class="muted">±{figure(most)}</span>
        </span>
      </p>
    </>
  );
}
