// A state: what the model would say here, what the block before added, what it is made from.
import { Toggle } from "../controls/choice.js";
import { kind, type Shown } from "../controls/kind.js";
import { Lens } from "../controls/lens.js";
import { Section } from "../controls/section.js";
import { Amount, Table } from "../controls/table.js";
import { UpdateSection } from "../controls/update.js";
import type { Parts, StateAnswer, Summary } from "../core/answers.js";
import { merged, numbers, table, tokens, updates } from "../core/difference.js";
import { shareLine, sum, updateLine } from "../core/formula.js";
import { type Graph, placeOf } from "../core/graph.js";
import { partName, stateName, tokenName, tokenText, visible } from "../core/names.js";
import { figure, percent } from "../core/numbers.js";
import { itemOf, type Selection } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

interface StateQuestion extends Selection {
  kind: "state";
  state: number;
  pos: number;
}

const own = {
  title: (state: string, token: string) => `What made up ${state} at ${token}`,
  lens: "What the model would say here",
  lensCaption: (state: string, token: string) => `Logit lens at ${state}, ${token}`,
  normalise: "Normalise",
  normaliseTitle: "Apply the final norm before reading states as tokens",
  settled: (token: string, p: string, since: string, on_top: boolean) =>
    `The final answer ${token} (${p}) is ${on_top ? "" : "not "}on top here; it stays there from ${since}.`,
  unsettled: (token: string, p: string) => `The lens never settles on the final answer ${token} (${p}).`,
  uncertainty: (choices: string, kl: string) =>
    `As unsure as between ${choices} equal choices; ${kl} nats from the final prediction.`,
  theBlock: "the block before",
  parts: "Made from",
  part: "part",
  itself: (token: string) => `${token} (itself)`,
  rest: (share: string) => `The remaining parts together: ${share}.`,
  score: (score: string, p: string, token: string, normalised: boolean) =>
    `The state ${normalised ? "after the final norm " : ""}times the unembedding gives ${token} the score ${score}, by softmax ${p}.`,
  change: (token: string, before: number, now: number) => `${token} had rank ${before} in the state before, now ${now}.`,
  entropy: "entropy (nats)",
  kl: "KL to final (nats)",
  compareLens: "Lens: probability of each token",
  compareParts: "Shares of its parts",
};

export default kind<StateQuestion, StateAnswer>({
  kind: "state",
  noun: "state",
  needs: ["state", "pos"],
  item: (g, { state, pos }) => ({ kind: "node", node: state * g.T + pos }),
  asked(g, item) {
    if (item.kind !== "node") return null;
    const { state, pos, part } = placeOf(g, item.node);
    return part < 0 ? { kind: "state", state, pos } : null;
  },
  title: (g, { state, pos }) => own.title(stateName(g, state), tokenText(g, pos)),
  Panel: StatePanel,
  explain({ lens, parts, normalised, update }) {
    if (!lens) return [];
    const { text, score, p, change } = lens;
    const out: string[] = [];
    if (text.length) out.push(own.score(figure(score[0]), percent(p?.[0] ?? 0), visible(text[0]), normalised));
    const moved = change?.findIndex((n) => n) ?? -1;
    if (change && moved >= 0) out.push(own.change(visible(text[moved]), moved + 1 + (change[moved] ?? 0), moved + 1));
    return [...out, ...(parts.share.length ? shareLine(sum(parts.share)) : []), ...updateLine(update)];
  },
  compare({ summary, lens, parts, update }, g) {
    const { kind, part, key, share, label } = merged<Omit<Parts, "also">>(parts);
    return [
      ...numbers(words.compareFigures, "number", { [own.entropy]: summary?.entropy, [own.kl]: summary?.kl }),
      ...(lens ? tokens(own.compareLens, lens) : []),
      ...table(
        own.compareParts,
        "share",
        kind.map((k, i) => (key[i] === null ? (WITHOUT_KEY[k] ?? k) : partLabel(g, k, part[i], key[i], -1, label[i]))),
        share,
        kind.map((k, i) => `${k} ${key[i] ?? ""}`),
      ),
      ...updates(update),
    ];
  },
});

/** What a part is called beside that of another state, which has it in another layer. */
const WITHOUT_KEY: Record<string, string> = { carried: words.carriedOn, mlp: words.mlp, mixer: "mixer" };

function StatePanel(shown: Shown<StateQuestion, StateAnswer>) {
  const { store, g, answer } = shown;
  const { lens, summary, update, state, pos } = answer;
  return (
    <>
      <Section title={own.lens} beside={<Normalise store={store} />}>
        {lens && summary ? (
          <>
            <p class="note">{summarySentence(g, summary)}</p>
            <Lens store={store} lens={lens} caption={own.lensCaption(stateName(g, state), tokenName(g, pos))} />
          </>
        ) : (
          <p class="note">{words.noReadout}</p>
        )}
      </Section>
      {state > 0 && lens && <UpdateSection what={own.theBlock} update={update} />}
      {state > 0 && <MadeFrom {...shown} />}
    </>
  );
}

function summarySentence(g: Graph, { entropy, kl, final, settled, on_top }: Summary): string {
  const [token, p] = [visible(final.text), percent(final.p)];
  const about = settled === null ? own.unsettled(token, p) : own.settled(token, p, stateName(g, settled), on_top);
  return `${about} ${own.uncertainty(figure(Math.exp(entropy)), figure(Math.max(0, kl)))}`;
}

function Normalise({ store }: { store: Store }) {
  const on = store.traits.normalise.value;
  if (!LIVE || store.offline) return null;
  return <Toggle on={on} text={own.normalise} title={own.normaliseTitle} act={() => store.write("normalise", !on)} />;
}

/** The parts by share; each opens its line, MLP or mixer. */
function MadeFrom({ store, g, answer: { parts, rest, state, pos }, go }: Shown<StateQuestion, StateAnswer>) {
  const selections = parts.kind.map((kind, i): Selection => {
    const part = parts.part[i] ?? undefined;
    if (kind === "carried") return { kind, state, pos };
    if (kind === "attention") return { kind: "edge", state, query: pos, key: parts.key[i] as number, part };
    return { kind: kind === "mlp" ? "mlp" : "mixer", state, pos, part };
  });
  const items = selections.map((s) => itemOf(store.kinds, g, s));
  const name = (i: number) => partLabel(g, parts.kind[i], parts.part[i], parts.key[i], pos, parts.label[i]);
  return (
    <Section title={own.parts}>
      <Table
        store={store}
        caption={own.parts}
        mono
        n={parts.kind.length}
        few={8}
        name={name}
        item={(i) => items[i]}
        pick={(i) => () => go(selections[i])}
        columns={[
          { head: own.part, left: true, cell: name },
          {
            head: words.shareOf,
            cell: (i) => (
              <Amount
                value={parts.share[i]}
                of={parts.share[0]}
                text={percent(parts.share[i])}
                colour={colourOf(parts.kind[i])}
              />
            ),
          },
        ]}
      />
      {rest > 0.00005 && <p class="note">{own.rest(percent(rest))}</p>}
    </Section>
  );
}

const colourOf = (kind: string) => (kind === "carried" ? "residual" : kind === "attention" ? "attention" : "mlp");

/** "4 ·John", "4 ·John (itself)", "carried on", "L7 MLP" */
function partLabel(g: Graph, kind: string, part: number | null, key: number | null, pos: number, label: string): string {
  if (kind === "carried") return words.carriedOn;
  if (kind === "attention" && key !== null) return key === pos ? own.itself(`${key} ${tokenText(g, key)}`) : tokenName(g, key);
  return part === null || !g.meta.parts[part] ? label : partName(g, part);
}
