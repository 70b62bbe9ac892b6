// An attention line: its heads and their patterns. A head: where it looks, what that adds.

import { useSignal } from "@preact/signals";
import type { EdgeAnswer, HeadAnswer } from "../../core/answers.js";
import { type Cell, cellOfItem, itemOfCell, mapBytes } from "../../core/cells.js";
import { percent, tokenName, tokenText } from "../../core/names.js";
import type { Selection } from "../../core/select.js";
import { DARK, LIGHT, type Palette } from "../../paint/colour.js";
import { heatTable } from "../../paint/ramps.js";
import { Heat, Ramp, useImage } from "../../views/heat/heat.js";
import * as words from "../../words.js";
import { Choice } from "../choice.js";
import { largest, Signed, shareColumn, Table, UpdateTables, walk } from "../table.js";
import { effectTitle, Foil, Section, type Shown } from "./parts.js";

const paletteOf = (dark: boolean): Palette => (dark ? DARK : LIGHT);

export function EdgePanel({ store, g, answer, go }: Shown<EdgeAnswer>) {
  const { heads, state, query, key, maps } = answer;
  const open = (head: number) => {
    const { part } = answer.question as { part?: number };
    go({ kind: "head", state, head, query, key, ...(part === undefined ? {} : { part }) });
  };
  const most = largest(heads.effect);
  const n_heads = heads.head.length;
  const side = Math.round(Math.sqrt(maps.thumbs.length / n_heads));
  const table = heatTable(paletteOf(store.dark.value));
  return (
    <>
      <Section title={words.headsTitle}>
        <Foil store={store} answer={answer} />
        <Table
          store={store}
          caption={`${words.headsTitle} ${words.cell(tokenName(g, query), tokenName(g, key))}`}
          quiet
          n={n_heads}
          few={8}
          name={(i) => `H${heads.head[i]}`}
          pick={(i) => () => open(heads.head[i])}
          columns={[
            { head: words.head, left: true, cell: (i) => `H${heads.head[i]}` },
            shareColumn(heads.share, "attention"),
            { head: words.attentionTo, title: words.attentionTitle, cell: (i) => percent(heads.attention[i]) },
            {
              head: words.effect,
              title: effectTitle(answer),
              cell: (i) => <Signed value={heads.effect[i]} of={most} />,
            },
          ]}
        />
      </Section>
      <Section title={words.patternsTitle}>
        <ul class="thumbs" onKeyDown={walk}>
          {Array.from({ length: n_heads }, (_, head) => (
            <li key={head}>
              <Thumb
                head={head}
                bytes={maps.thumbs.subarray(head * side * side, (head + 1) * side * side)}
                side={side}
                table={table}
                open={open}
              />
            </li>
          ))}
        </ul>
      </Section>
    </>
  );
}

function Thumb({
  head,
  bytes,
  side,
  table,
  open,
}: {
  head: number;
  bytes: ArrayLike<number>;
  side: number;
  table: Uint32Array;
  open: (head: number) => void;
}) {
  const canvas = useImage(bytes, side, table);
  return (
    <button type="button" class="thumb" title={words.headName(head)} onClick={() => open(head)}>
      <canvas ref={canvas} class={side > 46 ? "fine" : ""} />
      <span>H{head}</span>
    </button>
  );
}

export function HeadPanel({ store, g, answer, go }: Shown<HeadAnswer>) {
  const { state, head, part, query, key, maps, max, max_all } = answer;
  const n = Math.round(Math.sqrt(maps.pattern.length));
  const shared = useSignal("own");
  const wanted = useSignal("both");
  const pointed = useSignal<Cell | null>(null);
  const keys = useSignal("all");
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
    go({ ...(answer.question as Selection & { kind: "head" }), ...cell });
  };
  const name = (cell: Cell) => words.cell(tokenName(g, cell.query), tokenName(g, cell.key));
  const map = (which: "pattern" | "contribution", title: string, hint: string) => (
    <figure key={which} title={hint}>
      <figcaption>
        <button
          type="button"
          class="more"
          title={words.enlarge}
          aria-pressed={wanted.value === which}
          onClick={() => {
            wanted.value = wanted.value === which ? "both" : which;
          }}
        >
          {title}
        </button>
      </figcaption>
      <Heat
        label={`${title}, ${words.headName(head)}. ${at ? name(at) : ""}. ${words.mapKeys}`}
        n={n}
        {...useBytes(maps[which] as Float32Array, n, top[which])}
        palette={palette}
        cursor={cursor}
        open={open}
        over={over}
        pick={pick}
      />
      <Ramp palette={palette} texts={[0, 0.25, 1].map((x) => percent(x * top[which]))} />
    </figure>
  );
  const update = keys.value === "this" && answer.this_key ? answer.this_key : answer.all;
  return (
    <>
      <Section
        title={words.mapsTitle}
        beside={
          <Choice
            label={words.range}
            value={shared.value}
            options={[
              ["own", words.ownRange],
              ["all", words.sharedRange],
            ]}
            pick={(value) => {
              shared.value = value;
            }}
          />
        }
      >
        <div class={`maps ${wanted.value}`}>
          {map("pattern", words.pattern, words.patternTitle)}
          {map("contribution", words.contribution, words.contributionTitle)}
        </div>
        <p class="under-map note">
          <span class="mono">{at ? name(at) : ""}</span>
          {at && at.key <= at.query && (
            <span class="number">
              {percent(maps.pattern[at.query * n + at.key])} · {percent(maps.contribution[at.query * n + at.key])}
            </span>
          )}
        </p>
      </Section>
      <Section
        title={words.updateTitle(words.theHead)}
        beside={
          answer.this_key &&
          key !== null && (
            <Choice
              label={words.keysOf}
              value={keys.value}
              options={[
                ["all", words.allKeys],
                ["this", words.thisKey(tokenText(g, key))],
              ]}
              pick={(value) => {
                keys.value = value;
              }}
            />
          )
        }
      >
        <Foil store={store} answer={answer} />
        {update ? <UpdateTables update={update} /> : <p class="note">{answer.note ?? words.noReadout}</p>}
      </Section>
    </>
  );
}

const made = new WeakMap<Float32Array, Map<number, { bytes: Uint8Array; side: number }>>(); // pure, so sharing is safe

/** A map's bytes, made once for every range. */
export function useBytes(values: Float32Array, n: number, top: number): { bytes: Uint8Array; side: number } {
  const ranges = made.get(values) ?? new Map();
  if (!ranges.has(top)) ranges.set(top, mapBytes(values, n, top));
  made.set(values, ranges);
  return ranges.get(top);
}
