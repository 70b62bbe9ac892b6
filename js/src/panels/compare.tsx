// The pin and the selection side by side, with a difference column.
import type { Answer, HeadAnswer, NeuronAnswer } from "../core/answers.js";
import { differenceBytes } from "../core/cells.js";
import type { Graph } from "../core/graph.js";
import { comparables, type Joined, join } from "../core/join.js";
import { percent, tokenName, visible } from "../core/names.js";
import type { Store } from "../model.js";
import { DARK, LIGHT } from "../paint/colour.js";
import { Heat, Ramp } from "../views/heat/heat.js";
import * as words from "../words.js";
import { useBytes } from "./kinds/attention.js";
import { Strip } from "./kinds/mlp.js";
import { Section } from "./kinds/parts.js";
import { partLabel } from "./kinds/state.js";
import { figure, largest, Signed, signedText, Table } from "./table.js";

interface Sides {
  store: Store;
  g: Graph;
  pinned: Answer;
  now: Answer;
}

export function Compare({ store, g, pinned, now }: Sides) {
  const [names, others] = [partNames(g, now), partNames(g, pinned)];
  const left = comparables(pinned, others);
  return (
    <div class="compare">
      {comparables(now, names).map(({ title, unit, figures }, i) => {
        const other = left.find((c) => c.title === title && c.unit === unit);
        if (!other) return null;
        const rows = join(other.figures, figures);
        const caption = words.differenceCaption[title];
        return (
          <Section key={title + i} title={caption}>
            <Rows store={store} caption={caption} rows={rows} unit={unit} />
          </Section>
        );
      })}
      {now.kind === "head" && pinned.kind === "head" && <Maps store={store} g={g} pinned={pinned} now={now} />}
      {now.kind === "neuron" && pinned.kind === "neuron" && <Strips store={store} g={g} pinned={pinned} now={now} />}
    </div>
  );
}

function Rows({ store, caption, rows, unit }: { store: Store; caption: string; rows: Joined[]; unit: string }) {
  const text = (x: number | null) =>
    x === null ? "–" : unit === "share" ? percent(x) : unit === "signed" ? signedText(x) : figure(x);
  const most = largest(rows.map((row) => row.difference));
  const scale = unit === "share" ? 100 : 1; // differences of shares are percentage points
  return (
    <Table
      store={store}
      caption={caption}
      quiet
      mono
      n={rows.length}
      few={8}
      columns={[
        {
          head: words.modelFacts.name,
          left: true,
          cell: (i) => <span title={visible(rows[i].label)}>{visible(rows[i].label)}</span>,
        },
        { head: words.pinnedSide, cell: (i) => text(rows[i].pinned) },
        { head: words.thisSide, cell: (i) => text(rows[i].now) },
        {
          head: unit === "share" ? "Δ pp" : "Δ",
          title: words.difference,
          cell: (i) => {
            const d = rows[i].difference;
            return <Signed value={d === null ? null : d * scale} of={most * scale} />;
          },
        },
      ]}
    />
  );
}

/** What figures and parts are called: the latter as in the state's own panel. */
function partNames(g: Graph, answer: Answer): Record<string, string> {
  const names = { ...words.figureNames };
  if (answer.kind !== "state") return names;
  const { kind, part, key, label } = answer.parts;
  kind.forEach((k, i) => {
    names[`${k} ${key[i] ?? ""}`] = key[i] === null ? (names[`${k} `] ?? k) : partLabel(g, k, part[i], key[i], -1, label[i]);
  });
  return names;
}

function Maps({ store, pinned, now }: Sides & { pinned: HeadAnswer; now: HeadAnswer }) {
  const [a, b] = [pinned.maps.contribution as Float32Array, now.maps.contribution as Float32Array];
  if (a.length !== b.length) return <p class="note">{words.otherLength}</p>;
  const n = Math.round(Math.sqrt(b.length));
  const palette = store.dark.value ? DARK : LIGHT;
  const top = Math.max(pinned.max.contribution, now.max.contribution);
  const difference = differenceBytes(a, b, n);
  const still = { n, palette, cursor: null, open: null, over: () => {} };
  const side = (title: string, { head, query, key }: HeadAnswer, values: Float32Array) => (
    <figure>
      <figcaption>
        {title} H{head}
      </figcaption>
      <Heat
        {...still}
        label={`${words.contribution}, ${title}`}
        {...useBytes(values, n, top)}
        open={key === null ? null : { query, key }}
      />
      <Ramp palette={palette} texts={[0, 0.25, 1].map((x) => percent(x * top))} />
    </figure>
  );
  return (
    <Section title={words.contribution}>
      <div class="maps both">
        {side(words.pinnedSide, pinned, a)}
        {side(words.thisSide, now, b)}
        <figure>
          <figcaption>{words.difference}</figcaption>
          <Heat {...still} label={words.difference} {...difference} has_sign />
          <Ramp palette={palette} has_sign texts={[`−${percent(difference.top)}`, "0", `+${percent(difference.top)}`]} />
        </figure>
      </div>
    </Section>
  );
}

function Strips({ store, g, pinned, now }: Sides & { pinned: NeuronAnswer; now: NeuronAnswer }) {
  return (
    <>
      {([pinned, now] as const).map((answer, i) => (
        <Section key={i} title={`${words.stripTitle}, ${i ? words.thisSide : words.pinnedSide}`}>
          <Strip store={store} name={(pos) => tokenName(g, pos)} values={answer.maps.strip as Float32Array} at={answer.pos} />
        </Section>
      ))}
    </>
  );
}
