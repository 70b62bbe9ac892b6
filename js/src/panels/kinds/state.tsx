// A state: what the model would say here, what the block before added, what it is made from.
import type { StateAnswer, Summary, Tokens } from "../../core/answers.js";
import type { Graph } from "../../core/graph.js";
import { partName, percent, stateName, tokenName, tokenText, visible } from "../../core/names.js";
import { type Item, itemOf, type Selection } from "../../core/select.js";
import type { Store } from "../../model.js";
import * as words from "../../words.js";
import { Toggle } from "../choice.js";
import { Amount, figure, Table } from "../table.js";
import { Section, type Shown, UpdateSection } from "./parts.js";

export function StatePanel({ store, g, answer, go }: Shown<StateAnswer>) {
  const { lens, summary, update, state, pos } = answer;
  return (
    <>
      <Section title={words.lensTitle} beside={<Normalise store={store} />}>
        {lens && summary ? (
          <>
            <p class="note">{summarySentence(g, summary)}</p>
            <Lens store={store} lens={lens} caption={words.lensCaption(stateName(g, state), tokenName(g, pos))} />
          </>
        ) : (
          <p class="note">{words.noReadout}</p>
        )}
      </Section>
      {state > 0 && lens && <UpdateSection title={words.updateTitle(words.theBlock)} update={update} />}
      {state > 0 && <MadeFrom store={store} g={g} answer={answer} go={go} />}
    </>
  );
}

export function summarySentence(g: Graph, { entropy, kl, final, settled, on_top }: Summary): string {
  const [token, p] = [visible(final.text), percent(final.p)];
  const about = settled === null ? words.unsettled(token, p) : words.settled(token, p, stateName(g, settled), on_top);
  return `${about} ${words.uncertainty(figure(entropy), figure(Math.max(0, kl)))}`;
}

function Normalise({ store }: { store: Store }) {
  const on = store.traits.normalise.value;
  if (store.offline) return null;
  return <Toggle on={on} text={words.normalise} title={words.normaliseTitle} act={() => store.write("normalise", !on)} />;
}

export function Lens({ store, lens, caption }: { store: Store; lens: Tokens; caption: string }) {
  const p = lens.p ?? [];
  const change = lens.change;
  return (
    <Table
      store={store}
      caption={caption}
      quiet
      n={lens.id.length}
      few={10}
      columns={[
        { head: words.rank, cell: (i) => <span class="muted">{i}</span> },
        {
          head: words.token,
          left: true,
          cell: (i) => (
            <span class="mono" title={`id ${lens.id[i]}`}>
              {visible(lens.text[i])}
            </span>
          ),
        },
        { head: words.probability, cell: (i) => <Amount value={p[i]} of={p[0]} text={percent(p[i])} /> },
        { head: words.score, title: words.scoreTitle, cell: (i) => figure(lens.score[i]) },
        ...(change ? [{ head: words.change, title: words.changeTitle, cell: (i: number) => <Change n={change[i]} /> }] : []),
      ]}
    />
  );
}

function Change({ n }: { n: number | null }) {
  if (!n) return <span class="muted">{n === 0 ? "·" : "–"}</span>;
  return (
    <span class={n > 0 ? "rose" : "fell"} title={words.moved(n)}>
      {n > 0 ? "▲" : "▼"}
      {Math.abs(n)}
    </span>
  );
}

/** The parts by share; each opens its line, MLP or mixer. */
function MadeFrom({ store, g, answer: { parts, rest, state, pos }, go }: Shown<StateAnswer>) {
  const selections = parts.kind.map((kind, i): Selection => {
    const part = parts.part[i] ?? undefined;
    if (kind === "carried") return { kind, state, pos };
    if (kind === "attention") return { kind: "edge", state, query: pos, key: parts.key[i] as number, part };
    return { kind: kind === "mlp" ? "mlp" : "mixer", state, pos, part };
  });
  const items: (Item | null)[] = selections.map((s) => itemOf(g, s));
  const name = (i: number) => partLabel(g, parts.kind[i], parts.part[i], parts.key[i], pos, parts.label[i]);
  return (
    <Section title={words.partsTitle}>
      <Table
        store={store}
        caption={words.partsTitle}
        quiet
        mono
        n={parts.kind.length}
        few={8}
        name={name}
        item={(i) => items[i]}
        pick={(i) => () => go(selections[i])}
        columns={[
          { head: words.part, left: true, cell: name },
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
      {rest > 0.00005 && <p class="note">{words.rest(percent(rest))}</p>}
    </Section>
  );
}

const colourOf = (kind: string) => (kind === "carried" ? "residual" : kind === "attention" ? "attention" : "mlp");

/** "4 ·John", "4 ·John (itself)", "carried on", "L7 MLP" */
export function partLabel(g: Graph, kind: string, part: number | null, key: number | null, pos: number, label: string): string {
  if (kind === "carried") return words.carriedOn;
  if (kind === "attention" && key !== null) return key === pos ? words.ownKey(`${key} ${tokenText(g, key)}`) : tokenName(g, key);
  return part === null || !g.meta.parts[part] ? label : partName(g, part);
}
