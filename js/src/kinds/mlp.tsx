// An MLP: its experts and neurons, and what it wrote.
import { effectTitle } from "../controls/foil.js";
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, shareColumn, Table } from "../controls/table.js";
import { UpdateSection } from "../controls/update.js";
import type { MlpAnswer, Neurons } from "../core/answers.js";
import { merged, table, updates, usual } from "../core/difference.js";
import { effectRows } from "../core/facts.js";
import { usualLines } from "../core/formula.js";
import { partName, tokenText } from "../core/names.js";
import { count, largest, percent, signedText } from "../core/numbers.js";
import { named, partOf, type Selection, squareAt, squareItem } from "../core/select.js";
import * as words from "../words.js";

type Columns = Omit<Neurons, "also">;
type Expert = Neurons["expert"][number];

interface MlpQuestion extends Selection {
  kind: "mlp";
  state: number;
  pos: number;
  part?: number;
  top?: number; // how many neurons are listed
}

const own = {
  experts: "Experts that saw this token",
  expert: "expert",
  weight: "weight",
  partition:
    "Experts are held against whole experts, neurons against single neurons, so the shares of an expert's neurons do not add up to its own.",
  neurons: (shown: number, all: string) => `Neurons by share, ${shown} of ${all}`,
  neuron: "neuron",
  activationTitle: "Value just before the down projection",
  compareNeurons: "Shares of the neurons",
  compareValues: "Activations of the neurons",
};

const MORE = 20;

export default kind<MlpQuestion, MlpAnswer>({
  kind: "mlp",
  noun: "MLP",
  needs: ["state", "pos"],
  parts: ["mlp"],
  aside: ["top"],
  item: (g, question) => squareItem(g, ["mlp"], question),
  asked(g, item) {
    const at = squareAt(g, item);
    if (!at || g.meta.parts[at.part].kind !== "mlp") return null;
    return { kind: "mlp", state: at.state, pos: at.pos, ...named(g, at.part) };
  },
  title: (g, question) => words.wrote(partName(g, partOf(g, ["mlp"], question)), tokenText(g, question.pos)),
  figures: effectRows,
  Panel: MlpPanel,
  explain: (answer) => usualLines(answer, answer.update),
  compare(answer) {
    const { neuron, expert, share, value, effect } = merged<Columns>(answer.neurons);
    const labels = neuron.map((n, i) => neuronLabel(n, expert[i]));
    return [
      ...usual(answer),
      ...table(own.compareNeurons, "share", labels, share),
      ...table(own.compareValues, "number", labels, value),
      ...table(words.compareEffects, "signed", labels, effect),
      ...updates(answer.update),
    ];
  },
});

/** "1203", or "E3 1203" for a neuron of an expert. */
export function neuronLabel(neuron: number, expert: Expert): string {
  return expert === null ? String(neuron) : `${expertLabel(expert)} ${neuron}`;
}

/** "E3", or "shared" for the expert that sees every token. */
function expertLabel(expert: Expert): string {
  return typeof expert === "number" ? `E${expert}` : String(expert);
}

function weightText(weight: number | null): string {
  return weight === null ? "–" : percent(weight); // no router weighs an expert that sees every token
}

function MlpPanel({ store, question, answer, go }: Shown<MlpQuestion, MlpAnswer>) {
  const { neurons, experts, n_neurons, state, pos } = answer;
  const { part } = question;
  const n = neurons.neuron.length;
  const open = (i: number) =>
    go({ kind: "neuron", state, pos, neuron: neurons.neuron[i], part, expert: neurons.expert[i] ?? undefined });
  const name = (i: number) => neuronLabel(neurons.neuron[i], neurons.expert[i]);
  const most = largest(neurons.effect);
  return (
    <>
      {experts && (
        <Section title={own.experts}>
          <Table
            store={store}
            caption={own.experts}
            n={experts.expert.length}
            columns={[
              {
                head: own.expert,
                left: true,
                cell: (i) => <span title={experts.label[i]}>{expertLabel(experts.expert[i])}</span>,
              },
              { head: own.weight, cell: (i) => weightText(experts.weight[i]) },
              shareColumn(experts.share, "mlp"),
            ]}
          />
          <p class="note">{own.partition}</p>
        </Section>
      )}
      <Section title={own.neurons(n, count(n_neurons))}>
        <Table
          store={store}
          caption={own.neurons(n, count(n_neurons))}
          n={n}
          name={name}
          pick={(i) => () => open(i)}
          columns={[
            { head: own.neuron, left: true, cell: name },
            shareColumn(neurons.share, "mlp"),
            { head: words.activation, title: own.activationTitle, cell: (i) => signedText(neurons.value[i]) },
            { head: words.effect, title: effectTitle(answer), cell: (i) => <Signed value={neurons.effect[i]} of={most} /> },
          ]}
          more={
            n < n_neurons &&
            LIVE &&
            !store.offline && (
              <button
                type="button"
                class="more"
                onClick={() => store.setSelection({ kind: "mlp", state, pos, part, top: n + MORE })}
              >
                {words.more(Math.min(MORE, n_neurons - n))}
              </button>
            )
          }
        />
      </Section>
      <UpdateSection what={words.thisPart(words.mlp)} update={answer.update} />
    </>
  );
}
