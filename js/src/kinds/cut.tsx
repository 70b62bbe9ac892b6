// What if this were not there: what the prediction is without a line, a head, a part or a neuron, exactly.
import { Foil } from "../controls/foil.js";
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Amount, Table } from "../controls/table.js";
import type { CutAnswer } from "../core/answers.js";
import { numbers } from "../core/difference.js";
import { figureRows } from "../core/facts.js";
import { layerName, partName, tokenText, visible } from "../core/names.js";
import { largest, percent, signedText } from "../core/numbers.js";
import { attentionEdge, type Selection, squareItem } from "../core/select.js";
import * as words from "../words.js";

interface CutQuestion extends Selection {
  kind: "cut";
  state: number;
  query: number;
  key?: number | null;
  head?: number | null;
  neuron?: number | null;
  part?: number;
}

const SQUARES = ["mlp", "mixer", "other"] as const;

const own = {
  title: (what: string) => `What if ${what} were not there`,
  line: (from: string, to: string) => `the line ${from} → ${to}`,
  head: (layer: string, head: number, from: string | null, to: string) =>
    `${layer} H${head}${from === null ? "" : ` from ${from}`} at ${to}`,
  attention: (layer: string, to: string) => `all of ${layer}'s attention at ${to}`,
  part: (part: string, to: string) => `${part} at ${to}`,
  neuron: (neuron: number, part: string, to: string) => `neuron ${neuron} of ${part} at ${to}`,
  verdict: (token: string, before: string, after: string, foil: string | null, odds: readonly [string, string]) =>
    `Without it ${token} goes from ${before} to ${after}; log odds${foil === null ? "" : ` against ${foil}`} ${odds[0]} → ${odds[1]}.`,
  change: "Change of log odds",
  mean: "with its mean instead",
  kl: "Divergence (nats)",
  moved: "Tokens that moved most",
  after: "after",
  by: "by",
  exact:
    "Exact: the model was run again with this set to zero. Another replacement (its mean, another prompt's value) may say something else, and no effect does not mean that it is not used: other parts may step in.",
};

export default kind<CutQuestion, CutAnswer>({
  kind: "cut",
  noun: "cut",
  needs: ["state", "query"],
  item: (g, { state, query, key = null, part }) =>
    (key !== null && attentionEdge(g, { state, query, key, part })) ||
    squareItem(g, SQUARES, { kind: "mlp", state, part, pos: query }) || { kind: "node", node: state * g.T + query },
  title: (g, question) => own.title(named(g, question)),
  name: (g, question) => `− ${named(g, question)}`,
  without_facts: true,
  figures: ({ odds, odds_before, odds_mean, kl }) =>
    figureRows(
      [own.change, odds - odds_before, signedText],
      [own.mean, odds_mean - odds_before, signedText],
      [own.kl, kl, (x) => x.toFixed(3)],
    ),
  Panel: CutPanel,
  explain: () => [own.exact],
  compare: ({ odds, odds_before, odds_mean }) =>
    numbers(own.change, "signed", { [own.change]: odds - odds_before, [own.mean]: odds_mean - odds_before }),
});

function named(g: Parameters<typeof layerName>[0], { state, query, key = null, head, neuron, part }: CutQuestion): string {
  const to = tokenText(g, query);
  if (head != null) return own.head(layerName(g, state), head, key === null ? null : tokenText(g, key), to);
  if (key !== null) return own.line(tokenText(g, key), to);
  if (part === undefined || g.meta.parts[part]?.kind === "attention") return own.attention(layerName(g, state), to);
  return neuron != null ? own.neuron(neuron, partName(g, part), to) : own.part(partName(g, part), to);
}

function CutPanel({ store, answer }: Shown<CutQuestion, CutAnswer>) {
  const { effect_on, p_before, p, odds_before, odds, moved } = answer;
  const of = largest(moved.score.map(Math.abs));
  return (
    <div class="cut">
      {effect_on && (
        <p class="how verdict">
          {own.verdict(
            visible(effect_on.token.text),
            percent(p_before),
            percent(p),
            effect_on.foil && visible(effect_on.foil.text),
            [odds_before.toFixed(2), odds.toFixed(2)],
          )}
        </p>
      )}
      <Foil store={store} answer={answer} />
      <Section title={own.moved}>
        <Table
          store={store}
          caption={own.moved}
          quiet
          mono
          n={moved.id.length}
          columns={[
            { head: words.token, left: true, cell: (i) => visible(moved.text[i]) },
            { head: own.after, cell: (i) => moved.p && percent(moved.p[i]) },
            {
              head: own.by,
              cell: (i) => (
                <Amount
                  value={Math.abs(moved.score[i])}
                  of={of}
                  text={`${moved.score[i] < 0 ? "−" : "+"}${percent(Math.abs(moved.score[i]))}`}
                  colour={moved.score[i] < 0 ? "minus" : "plus"}
                />
              ),
            },
          ]}
        />
      </Section>
    </div>
  );
}
