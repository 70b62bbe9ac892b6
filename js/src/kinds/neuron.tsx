// A neuron: when it fires, what it writes.
import { kind, type Shown, type Sides } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { hovering, Signed, Table } from "../controls/table.js";
import { UpdateSection } from "../controls/update.js";
import type { Cases as CasesOf, NeuronAnswer, Update } from "../core/answers.js";
import { numbers, updates } from "../core/difference.js";
import { figureRows } from "../core/facts.js";
import { effectLine, updateLine } from "../core/formula.js";
import { partName, tokenName, tokenText } from "../core/names.js";
import { figure, largest, percent, signedText } from "../core/numbers.js";
import { partOf, type Selection, sameItem, squareItem } from "../core/select.js";
import type { Store } from "../store/store.js";
import {
  activation,
  compareEffect,
  compareFigures,
  directEffect,
  facts,
  pinnedSide,
  share,
  thisPart,
  thisSide,
} from "../words.js";

interface NeuronQuestion extends Selection {
  kind: "neuron";
  state: number;
  pos: number;
  neuron: number;
  part?: number;
  expert?: number | string;
}

const words = {
  title(neuron: number, expert: number | string | undefined, part: string, token: string): string {
    const of = expert === undefined ? "" : typeof expert === "number" ? `expert ${expert} of ` : `the ${expert} expert of `;
    return `What neuron ${neuron} of ${of}${part} wrote at ${token}`;
  },
  strip: "Its activation at every token",
  gate: "gate",
  up: "up",
  gated: (gate: boolean, up: boolean) =>
    `The gate is ${gate ? "positive" : "negative"} and up is ${up ? "positive" : "negative"}, so the activation is ${
      gate === up ? "positive" : "negative"
    }${gate ? "" : " and small: the gate is closed"}.`,
  cases: "Signs of its gate and up over the prompt",
  signs: ["+ +", "+ −", "− +", "− −"],
  n: "tokens",
  strongest: "strongest",
  at: "at",
  gateUp: "gate, up",
  alike: ([up, gate, out]: number[], [byGate, byUp]: string[]) =>
    `Cosines: gate and up ${signedText(up)}; gate and output ${signedText(gate)} (${byGate}); up and output ${signedText(out)} (${byUp}).`,
  formula: (value: string, share: string) =>
    `A neuron writes activation × output row: its tokens have the sign of ${value}. Its share, ${share}, is among single neurons; an MLP's is not their sum.`,
  gatedFormula: (gate: string, up: string, value: string) => `Activation = act(${gate}) × ${up} = ${value}.`,
};

export default kind<NeuronQuestion, NeuronAnswer>({
  kind: "neuron",
  noun: "neuron",
  needs: ["state", "pos"],
  parts: ["mlp"],
  item: (g, question) => squareItem(g, ["mlp"], question),
  title: (g, question) => words.title(question.neuron, question.expert, mlpName(g, question), tokenText(g, question.pos)),
  name: (g, question) => `${mlpName(g, question)} ${question.neuron} ${tokenText(g, question.pos)}`,
  figures: (answer) =>
    figureRows(
      [facts.share, answer.share, percent],
      [activation, answer.value, signedText],
      [words.gate, answer.gate, signedText],
      [words.up, answer.up, signedText],
      [directEffect, answer.effect, signedText],
    ),
  Panel: NeuronPanel,
  explain: (answer) => [
    words.formula(signedText(answer.value), percent(answer.share)),
    ...(answer.gate !== null && answer.up !== null
      ? [words.gatedFormula(signedText(answer.gate), signedText(answer.up), signedText(answer.value))]
      : []),
    ...effectLine(answer, answer.effect),
    ...updateLine(updateOf(answer)),
  ],
  compare: (answer) => [
    ...numbers(compareFigures, "share", { [share]: answer.share }),
    ...numbers(compareFigures, "number", { [activation]: answer.value, [words.gate]: answer.gate, [words.up]: answer.up }),
    ...numbers(compareEffect, "signed", { [directEffect]: answer.effect }),
    ...updates(updateOf(answer)),
  ],
  Compared: Strips,
});

const mlpName = (g: Parameters<typeof partName>[0], question: NeuronQuestion) => partName(g, partOf(g, ["mlp"], question));

function updateOf(answer: NeuronAnswer): Update | null {
  return answer.promoted && answer.suppressed ? (answer as Update) : null;
}

function NeuronPanel(shown: Shown<NeuronQuestion, NeuronAnswer>) {
  const { store, g, answer } = shown;
  const { gate, up, maps } = answer;
  return (
    <>
      {gate !== null && up !== null && <p class="note">{words.gated(gate > 0, up > 0)}</p>}
      <Section title={words.strip}>
        <Strip store={store} name={(pos) => tokenName(g, pos)} values={maps.strip as Float32Array} at={answer.pos} />
      </Section>
      {answer.cases && <Cases {...shown} cases={answer.cases} />}
      <UpdateSection what={thisPart("neuron")} update={updateOf(answer)} />
    </>
  );
}

/** How often it was in each case of its signs, and where most. */
function Cases({ store, g, cases, go, question }: Shown<NeuronQuestion, NeuronAnswer> & { cases: CasesOf }) {
  const { count, value, at, similarity, suggests } = cases;
  const most = largest([...value]);
  return (
    <Section title={words.cases}>
      <Table
        store={store}
        caption={words.cases}
        n={4}
        name={(i) => words.signs[i]}
        pick={(i) => (at[i] < 0 ? null : () => go({ ...question, pos: at[i] }))}
        columns={[
          { head: words.gateUp, left: true, cell: (i) => words.signs[i] },
          { head: words.n, cell: (i) => count[i] },
          { head: words.strongest, cell: (i) => (at[i] < 0 ? "–" : <Signed value={value[i]} of={most} />) },
          { head: words.at, left: true, cell: (i) => <span class="mono">{at[i] < 0 ? "" : tokenName(g, at[i])}</span> },
        ]}
      />
      {similarity && <p class="note">{words.alike(similarity, suggests)}</p>}
    </Section>
  );
}

function Strips({ store, g, pinned, now }: Sides<NeuronAnswer>) {
  return (
    <>
      {[pinned, now].map((answer, i) => (
        <Section key={i} title={`${words.strip}, ${i ? thisSide : pinnedSide}`}>
          <Strip store={store} name={(pos) => tokenName(g, pos)} values={answer.maps.strip as Float32Array} at={answer.pos} />
        </Section>
      ))}
    </>
  );
}

/** One bar a token, up or down from zero; the token under the pointer is named below and marked in the picture. */
function Strip({ store, name, values, at }: { store: Store; name: (pos: number) => string; values: Float32Array; at: number }) {
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
        aria-label={`${words.strip}. ${name(pointed)}: ${signedText(values[pointed])}`}
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
