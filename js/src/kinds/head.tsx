// A head: where it looks, and what that adds.
import { useSignal } from "@preact/signals";
import { Choice } from "../controls/choice.js";
import { kind, type Shown, type Sides } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { UpdateTables } from "../controls/update.js";
import type { HeadAnswer } from "../core/answers.js";
import { type Cell, cellOfItem, differenceBytes, itemOfCell } from "../core/cells.js";
import { numbers, updates } from "../core/difference.js";
import { figureRows } from "../core/facts.js";
import { effectLine, updateLine } from "../core/formula.js";
import { layerName, tokenName, tokenText } from "../core/names.js";
import { percent, signedText } from "../core/numbers.js";
import { attentionEdge, type Selection } from "../core/select.js";
import { download } from "../download.js";
import { paletteOf } from "../paint/colour.js";
import { mapFigure } from "../views/heat/figure.js";
import { Heat, Ramp, useBytes } from "../views/heat/heat.js";
import * as words from "../words.js";

interface HeadQuestion extends Selection {
  kind: "head";
  state: number;
  head: number;
  query: number;
  key: number | null; // null: all keys
  part?: number;
}

const own = {
  title: (head: number, layer: string, query: string, key: string | null) =>
    `What head ${head} of ${layer} moved to ${query}${key === null ? "" : ` from ${key}`}`,
  effectOfKey: "of this key alone",
  maps: "Where it looks",
  pattern: "Attention",
  patternTitle: "Attention of every query (row) to every key (column)",
  contribution: "Contribution",
  contributionTitle: "Share of every key (column) in the state of its query (row)",
  difference: "Difference",
  otherLength: "Maps are compared for prompts of the same length only.",
  enlarge: "Show this map alone, or both",
  mapKeys: "Arrow keys move the cross-hair, Enter opens the cell.",
  range: "Colour range",
  ownRange: "this head",
  sharedRange: "all heads",
  keys: "Keys",
  allKeys: "all keys",
  thisKey: (key: string) => `only ${key}`,
  why: (key: string) => `Why does it look at ${key}?`,
  formula: (attention: string, share: string) =>
    `Attention is the weight a query gives a key (${attention}); contribution is the share of weight × value in the query's state (${share}).`,
};

export default kind<HeadQuestion, HeadAnswer>({
  kind: "head",
  noun: "head",
  needs: ["state", "query"],
  parts: ["attention"],
  aside: ["query", "key"],
  item: attentionEdge,
  title: (g, { state, head, query, key }) =>
    own.title(head, layerName(g, state), tokenText(g, query), key == null ? null : tokenText(g, key)),
  name: (g, { state, head, query, key }) =>
    `${layerName(g, state)} H${head} ${key == null ? "" : `${tokenText(g, key)} → `}${tokenText(g, query)}`,
  figures: ({ share, attention, effect, effect_key }) =>
    figureRows(
      [words.facts.share, share, percent],
      [words.attention, attention, percent],
      [words.directEffect, effect, signedText],
      [own.effectOfKey, effect_key, signedText],
    ),
  Panel: HeadPanel,
  explain: (answer) => [
    ...(answer.attention === null ? [] : [own.formula(percent(answer.attention), percent(answer.share))]),
    ...effectLine(answer, answer.effect),
    ...updateLine(answer.this_key ?? answer.all),
  ],
  compare: ({ share, attention, effect, effect_key, this_key, all }) => [
    ...numbers(words.compareFigures, "share", { [words.share]: share, [words.attention]: attention }),
    ...numbers(words.compareEffect, "signed", { [words.directEffect]: effect, [own.effectOfKey]: effect_key }),
    ...updates(this_key ?? all),
  ],
  Compared: Maps,
  elsewhere: here,
});

/** Of a head that was saved at one cell: its numbers at another, from its maps. */
function here(_: object, { query, key }: HeadQuestion, map: (name: string) => Float32Array): Partial<HeadAnswer> {
  const row = (name: string) => {
    const values = map(name);
    const n = Math.round(Math.sqrt(values.length));
    return values.subarray(query * n, (query + 1) * n);
  };
  const all = key == null;
  const share = all ? row("contribution").reduce((a, b) => a + b, 0) : row("contribution")[key];
  const unknown = { effect: null, effect_key: null, all: null, this_key: null, note: words.notSaved };
  return { ...unknown, query, key: key ?? null, attention: all ? null : row("pattern")[key], share };
}

function HeadPanel({ store, g, question, answer, go }: Shown<HeadQuestion, HeadAnswer>) {
  const { state, head, part, query, key, maps, max, max_all } = answer;
  const n = Math.round(Math.sqrt(maps.pattern.length));
  const shared = useSignal("own");
  const wanted = useSignal("both");
  const pointed = useSignal<Cell | null>(null);
  const keys = useSignal("all");
  const looked = key ?? mostOf(maps.pattern.subarray(query * n, (query + 1) * n) as Float32Array);
  const top = shared.value === "own" ? max : max_all;
  const palette = paletteOf(store.dark.value);
  const cursor = pointed.value ?? cellOfItem(g, state, part, store.hover.value);
  const open = key === null ? null : { query, key };
  const at = cursor ?? open;
  const over = (cell: Cell | null) => {
    pointed.value = cell;
    store.hover.value = cell && itemOfCell(g, state, part, cell);
  };
  const pick = (cell: Cell) => {
    pointed.value = null;
    go({ ...question, ...cell });
  };
  const name = (cell: Cell) => words.cell(tokenName(g, cell.query), tokenName(g, cell.key));
  const map = (which: "pattern" | "contribution", title: string, hint: string) => {
    const seen = useBytes(maps[which] as Float32Array, n, top[which]);
    const texts = [0, 0.25, 1].map((x) => percent(x * top[which]));
    const named = (pos: number) => tokenText(g, pos);
    const save = () => {
      const said = `${layerName(g, state)} H${head}: ${title}`;
      const { text } = mapFigure({ title: said, n, name: named, ...seen, palette, texts });
      download(new Blob([text], { type: "image/svg+xml" }), `${said.toLowerCase().replace(/\W+/g, "-")}.svg`);
    };
    return (
      <figure key={which} title={hint}>
        <figcaption>
          <button
            type="button"
            class="more"
            title={own.enlarge}
            aria-pressed={wanted.value === which}
            onClick={() => {
              wanted.value = wanted.value === which ? "both" : which;
            }}
          >
            {title}
          </button>{" "}
          <button type="button" class="more" onClick={save}>
            {words.svg}
          </button>
        </figcaption>
        <Heat
          label={`${title}, ${words.headName(head)}. ${at ? name(at) : ""}. ${own.mapKeys}`}
          n={n}
          name={named}
          {...seen}
          palette={palette}
          cursor={cursor}
          open={open}
          over={over}
          pick={pick}
        />
        <Ramp palette={palette} texts={texts} />
      </figure>
    );
  };
  const update = keys.value === "this" && answer.this_key ? answer.this_key : answer.all;
  return (
    <>
      <Section
        title={own.maps}
        beside={
          <Choice
            label={own.range}
            value={shared.value}
            options={[
              ["own", own.ownRange],
              ["all", own.sharedRange],
            ]}
            pick={(value) => {
              shared.value = value;
            }}
          />
        }
      >
        <div class={`maps ${wanted.value}`}>
          {map("pattern", own.pattern, own.patternTitle)}
          {map("contribution", own.contribution, own.contributionTitle)}
        </div>
        <p class="under-map note">
          <span class="mono">{at ? name(at) : ""}</span>
          {at && at.key <= at.query && (
            <span class="number">
              {percent(maps.pattern[at.query * n + at.key])} · {percent(maps.contribution[at.query * n + at.key])}
            </span>
          )}
        </p>
        {!store.traits.edits.value.length && (
          <p class="note">
            <button
              type="button"
              class="more"
              onClick={() => go({ kind: "reasons", state, head, query, key: looked, part: question.part })}
            >
              {own.why(tokenText(g, looked))}
            </button>
          </p>
        )}
      </Section>
      <Section
        title={words.updateTitle(words.thisPart("head"))}
        beside={
          answer.this_key &&
          key !== null && (
            <Choice
              label={own.keys}
              value={keys.value}
              options={[
                ["all", own.allKeys],
                ["this", own.thisKey(tokenText(g, key))],
              ]}
              pick={(value) => {
                keys.value = value;
              }}
            />
          )
        }
      >
        {update ? <UpdateTables update={update} /> : <p class="note">{answer.note ?? words.noReadout}</p>}
      </Section>
    </>
  );
}

const mostOf = (row: Float32Array) => row.indexOf(Math.max(...row));

function Maps({ store, pinned, now }: Sides<HeadAnswer>) {
  const [a, b] = [pinned.maps.contribution as Float32Array, now.maps.contribution as Float32Array];
  if (a.length !== b.length) return <p class="note">{own.otherLength}</p>;
  const n = Math.round(Math.sqrt(b.length));
  const palette = paletteOf(store.dark.value);
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
        label={`${own.contribution}, ${title}`}
        {...useBytes(values, n, top)}
        open={key === null ? null : { query, key }}
      />
      <Ramp palette={palette} texts={[0, 0.25, 1].map((x) => percent(x * top))} />
    </figure>
  );
  return (
    <Section title={own.contribution}>
      <div class="maps both">
        {side(words.pinnedSide, pinned, a)}
        {side(words.thisSide, now, b)}
        <figure>
          <figcaption>{own.difference}</figcaption>
          <Heat {...still} label={own.difference} {...difference} has_sign />
          <Ramp palette={palette} has_sign texts={[`−${percent(difference.top)}`, "0", `+${percent(difference.top)}`]} />
        </figure>
      </div>
    </Section>
  );
}
