// All heads: a grid of layers and heads by share, effect or by what kind of head each is, and the strongest as a list.
import { useSignal } from "@preact/signals";
import { Choice } from "../controls/choice.js";
import { effectTitle } from "../controls/foil.js";
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Amount, type Column, hovering, Signed, Table } from "../controls/table.js";
import { Verify } from "../controls/verify.js";
import { buttonsIn, walkAmong } from "../controls/walk.js";
import type { HeadsAnswer } from "../core/answers.js";
import { totals } from "../core/effects.js";
import { answerTokens } from "../core/formula.js";
import { EdgeKind, type Graph } from "../core/graph.js";
import { layerName, partName, tokenText } from "../core/names.js";
import { fullBar, largest, percent, signedText } from "../core/numbers.js";
import type { Routes } from "../core/routes.js";
import { type Item, named, type Selection } from "../core/select.js";
import { paletteOf } from "../paint/colour.js";
import { heatTable, sequential, signed } from "../paint/ramps.js";
import { Ramp, Ticks, useImage } from "../views/heat/heat.js";
import * as words from "../words.js";

interface HeadsQuestion extends Selection {
  kind: "heads";
}

type Measure = "share" | "effect" | "exact" | "previous" | "first" | "duplicate" | "induction";

const own = {
  title: "All heads",
  measure: "Heads by",
  measures: {
    share: ["share", "Share of the explained state, along all paths"],
    effect: ["effect", "Signed direct effect on the answer's logit"],
    exact: ["exact", "By how much the log odds change in a pass without the head, at any position"],
    induction: ["induction", "How much it looks at what came after earlier tokens like its own"],
    previous: ["previous", "How much it looks at the token before"],
    duplicate: ["duplicate", "How much it looks at earlier tokens like its own"],
    first: ["first", "How much it looks at the first token"],
  } as Record<Measure, [string, string]>,
  why: (tokens: string) => `Why ${tokens}`,
  total: (total: string, heads: string, mlps: string, rest: string) =>
    `${total} logits: ${heads} by heads, ${mlps} by MLPs and mixers, ${rest} by the rest.`,
  signs: (plus: string, minus: string) => `▲ ${plus} for it, ▼ ${minus} against it.`,
  nothing: "No token comes twice in this prompt, so there is nothing to measure.",
  elsewhere: "These effects are on another token's prediction: they were saved with it.",
  list: "Strongest heads",
  head: "head",
  verifyTitle: "Run the model without each head, the best estimates first; what is known so far stays",
  tried: "heads taken out, exact.",
  estimate: "estimate",
};

export default kind<HeadsQuestion, HeadsAnswer>({
  kind: "heads",
  noun: "table of heads",
  needs: [],
  title: () => own.title,
  Panel: HeadsPanel,
  compare: () => [],
});

function HeadsPanel({ store, g, answer, go }: Shown<HeadsQuestion, HeadsAnswer>) {
  const { table, effect_on } = answer;
  const exact = table.exact ?? []; // a file of an earlier version has none
  const n_tried = exact.filter((x) => x !== null).length;
  const wanted = store.measure.value as Measure;
  const measure = wanted === "exact" && !n_tried ? "effect" : wanted;
  const values = table[measure];
  const has_sign = measure === "effect" || measure === "exact";
  const rows = values.map((_, i) => i).filter((i) => values[i] !== null);
  rows.sort((a, b) => Math.abs(values[b] as number) - Math.abs(values[a] as number));
  const most = has_sign ? largest(values) : fullBar(rows.map((i) => values[i] as number));
  const name = (i: number) => `${partName(g, table.part[i]).replace(/ .*/, "")} H${table.head[i]}`;
  const item = (i: number) => strongest(g, store.routes.value, table.part[i], table.head[i]);
  const open = (i: number) => {
    const part = named(g, table.part[i]);
    go({
      kind: "head",
      state: table.state[i],
      head: table.head[i],
      query: effect_on?.pos ?? store.target.peek(),
      key: null,
      ...part,
    });
  };
  const text = (i: number) => (values[i] === null ? "–" : has_sign ? signedText(values[i]) : percent(values[i] as number));
  const palette = paletteOf(store.dark.value);
  const colour = (i: number) => {
    const x = (values[i] ?? 0) / (most || 1);
    return has_sign ? signed(palette, Math.sign(x) * Math.sqrt(Math.abs(x))) : sequential(palette, Math.sqrt(Math.max(0, x)));
  };
  const usual: Column[] = [
    {
      head: words.shareOf,
      cell: (i) => (
        <Amount value={table.share[rows[i]]} of={fullBar(table.share)} text={percent(table.share[rows[i]])} colour="attention" />
      ),
    },
    {
      head: words.effect,
      title: effectTitle(answer),
      cell: (i) => <Signed value={table.effect[rows[i]]} of={largest(table.effect)} />,
    },
    ...(measure === "share" || has_sign ? [] : [{ head: own.measures[measure][0], cell: (i: number) => text(rows[i]) }]),
  ];
  const without: Column[] = [
    { head: own.estimate, cell: (i) => <i>{signedText(table.estimate[rows[i]])}</i> },
    {
      head: own.measures.exact[0],
      title: own.measures.exact[1],
      cell: (i) => <Signed value={exact[rows[i]]} of={most} />,
    },
  ];
  return (
    <>
      <Why answer={answer} />
      {LIVE && !store.offline && effect_on?.foil && (
        <p class="note">
          <button type="button" class="more" onClick={() => go({ kind: "contrast" })}>
            {words.swapWords}
          </button>
        </p>
      )}
      {effect_on && effect_on.pos !== store.target.value && <p class="how">{own.elsewhere}</p>}
      <Section title={`${own.measure} ${own.measures[measure][0]}`}>
        <div class="heads-by">
          <Choice
            label={own.measure}
            value={measure}
            options={Object.entries(own.measures)
              .filter(([key]) => key !== "exact" || n_tried)
              .map(([key, [label, title]]) => [key, label, title])}
            pick={(value) => {
              store.measure.value = value;
            }}
          />
        </div>
        {rows.length === 0 ? (
          <p class="how">{own.nothing}</p>
        ) : (
          <>
            <Grid g={g} answer={answer} name={name} text={text} colour={colour} open={open} item={item} store={store} />
            <Ramp
              palette={palette}
              has_sign={has_sign}
              texts={has_sign ? [signedText(-most), "0", signedText(most)] : [0, 0.25, 1].map((x) => percent(x * most))}
            />
          </>
        )}
      </Section>
      <Section title={own.list}>
        <Table
          store={store}
          caption={own.list}
          n={rows.length}
          few={10}
          name={(i) => name(rows[i])}
          item={(i) => item(rows[i])}
          pick={(i) => () => open(rows[i])}
          columns={[{ head: own.head, left: true, cell: (i) => name(rows[i]) }, ...(measure === "exact" ? without : usual)]}
        />
        {!store.traits.edits.value.length && (
          <Verify
            store={store}
            title={own.verifyTitle}
            done={n_tried}
            all={exact.length}
            text={own.tried}
            begun={() => {
              store.measure.value = "exact";
            }}
          />
        )}
      </Section>
    </>
  );
}

/** The total, and what heads, other parts and the rest add to it. */
function Why({ answer }: { answer: HeadsAnswer }) {
  const { total, rest, effect_on, table, others } = answer;
  if (total === null || rest === null || !effect_on) return <p class="note">{words.noReadout}</p>;
  const sum = (values: (number | null)[]) => signedText(values.reduce<number>((a, b) => a + (b ?? 0), 0));
  const { plus, minus } = totals(answer);
  return (
    <div class="why-this">
      <h3>{own.why(answerTokens(effect_on))}</h3>
      <p class="how">
        {own.total(signedText(total), sum(table.effect), sum(others.effect), signedText(rest))}{" "}
        {own.signs(signedText(plus), signedText(minus))}
      </p>
    </div>
  );
}

interface Looked {
  i: number;
  part: number;
  side: "above" | "below"; // the cell
}

interface GridProps {
  store: Shown<HeadsQuestion, HeadsAnswer>["store"];
  g: Graph;
  answer: HeadsAnswer;
  name: (i: number) => string;
  text: (i: number) => string;
  colour: (i: number) => string;
  open: (i: number) => void;
  item: (i: number) => Item | null;
}

/** Layers from the top down, a cell a head; one stop of the Tab order, arrows walk it. */
function Grid({ store, g, answer: { table, maps }, name, text, colour, open, item }: GridProps) {
  const looked = useSignal<Looked | null>(null); // the head whose pattern is shown
  const n_cells = (maps.thumbs?.length ?? 0) / table.head.length; // a file of an earlier version has none
  const look = (i: number) => (event: Event) => {
    const cell = event.currentTarget as HTMLElement;
    const all = cell.closest(".panel-body")?.getBoundingClientRect();
    const is_low = all && cell.getBoundingClientRect().top > all.top + all.height / 2;
    looked.value = { i, part: table.part[i], side: is_low ? "above" : "below" };
  };
  const leave = () => {
    looked.value = null;
  };
  const parts = [...new Set(table.part)].reverse();
  const walk = (event: KeyboardEvent) => {
    const wide = buttonsIn((event.target as Element).parentElement).length;
    walkAmong(event, buttonsIn(event.currentTarget), { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -wide, ArrowDown: wide });
  };
  return (
    <div class="heads-grid" role="group" aria-label={own.title} onKeyDown={walk}>
      {parts.map((part, r) => {
        const heads = table.part.flatMap((p, i) => (p === part ? [i] : []));
        return (
          <div class="heads-row" key={part}>
            <span class="muted">{layerName(g, g.meta.parts[part].state)}</span>
            {heads.map((i, h) => {
              const it = item(i);
              return (
                <button
                  type="button"
                  key={i}
                  tabIndex={r || h ? -1 : 0}
                  aria-label={`${name(i)}: ${text(i)}`}
                  title={`${name(i)}: ${text(i)}`}
                  style={{ background: colour(i) }}
                  onClick={() => open(i)}
                  onMouseEnter={look(i)}
                  onMouseLeave={leave}
                  onFocus={look(i)}
                  onBlur={leave}
                  {...(it ? hovering(store, it) : {})}
                />
              );
            })}
            {n_cells > 0 && looked.value?.part === part && (
              <Pattern
                store={store}
                g={g}
                bytes={maps.thumbs.subarray(looked.value.i * n_cells, (looked.value.i + 1) * n_cells)}
                side={looked.value.side}
              />
            )}
          </div>
        );
      })}
    </div>
  );
}

interface PatternProps {
  store: GridProps["store"];
  g: Graph;
  bytes: ArrayLike<number>;
  side: Looked["side"];
}

/** A head's small pattern, where the panel has room for it; nothing is hit by it. */
function Pattern({ store, g, bytes, side }: PatternProps) {
  const n = Math.sqrt(bytes.length);
  const canvas = useImage(bytes, n, heatTable(paletteOf(store.dark.value)));
  const name = (cell: number) => tokenText(g, Math.floor((cell * g.T) / n));
  return (
    <div class={`heads-pattern named ${side}`} aria-hidden="true">
      <Ticks kind="queries" n={n} name={name} most={11} />
      <canvas ref={canvas} />
      <Ticks kind="keys" n={n} name={name} most={11} />
    </div>
  );
}

/** The heaviest line on which a head is the strongest. */
function strongest(g: Graph, routes: Routes | null, part: number, head: number): Item | null {
  const edge = routes?.order.find((e) => g.kind[e] === EdgeKind.attention && g.part[e] === part && g.head[e] === head);
  return edge === undefined ? null : { kind: "edge", edge };
}
