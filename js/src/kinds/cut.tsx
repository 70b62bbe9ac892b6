// What if this were not there: what the prediction is without a line, a head, a part or a neuron, exactly.
import { kind, type Shown } from "../controls/kind.js";
import { MovedTokens, verdictOf } from "../controls/verdict.js";
import type { CutAnswer } from "../core/answers.js";
import { numbers } from "../core/difference.js";
import { figureRows } from "../core/facts.js";
import { layerName, partName, tokenText } from "../core/names.js";
import { signedText } from "../core/numbers.js";
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
  without: "Without it",
  mean: "with its mean instead",
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
  figures: ({ odds, odds_before, odds_mean, kl }) =>
    figureRows(
      [words.oddsChange, odds - odds_before, signedText],
      [own.mean, odds_mean - odds_before, signedText],
      [words.divergence, kl, (x) => x.toFixed(3)],
    ),
  Panel: CutPanel,
  explain: () => [words.exact],
  compare: ({ odds, odds_before, odds_mean }) =>
    numbers(words.oddsChange, "signed", { [words.oddsChange]: odds - odds_before, [own.mean]: odds_mean - odds_before }),
});

function named(g: Parameters<typeof layerName>[0], { state, query, key = null, head, neuron, part }: CutQuestion): string {
  const to = tokenText(g, query);
  if (head != null) return own.head(layerName(g, state), head, key === null ? null : tokenText(g, key), to);
  if (key !== null) return own.line(tokenText(g, key), to);
  if (part === undefined || g.meta.parts[part]?.kind === "attention") return own.attention(layerName(g, state), to);
  return neuron != null ? own.neuron(neuron, partName(g, part), to) : own.part(partName(g, part), to);
}

function CutPanel({ store, answer }: Shown<CutQuestion, CutAnswer>) {
  return (
    <div class="cut">
      <p class="how verdict">
        {own.without} {verdictOf(answer)}
      </p>
      <MovedTokens store={store} moved={answer.moved} />
    </div>
  );
}
