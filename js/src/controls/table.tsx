// Tables of tokens and figures: bars, signed bars, rows that hover and open something.
import { type Signal, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { percent, signedText } from "../core/numbers.js";
import { type Item, sameItem } from "../core/select.js";
import { download } from "../download.js";
import { paletteOf } from "../paint/colour.js";
import { tableFigure } from "../paint/table.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { ByHand, useCopy } from "./copy.js";
import { walk } from "./walk.js";

export interface Column {
  head: string;
  title?: string;
  left?: boolean; // text; figures stand at the right
  sort?: () => void; // the heading is a button that sorts by this column
  sorted?: boolean;
  cell: (i: number) => ComponentChildren;
}

export interface TableProps {
  store: Store;
  caption: string; // for readers who cannot see the heading above
  columns: Column[];
  n: number;
  few?: number; // rows shown at first
  name?: (i: number) => string; // of row i, for the first column of rows that open something
  mono?: boolean;
  pick?: (i: number) => (() => void) | null;
  item?: (i: number) => Item | null; // what row i is in the picture
  more?: ComponentChildren;
}

export function Table({ store, caption, columns, n, few = n, name, mono, pick, item, more }: TableProps) {
  const all = useSignal(false);
  const hover = store.hover.value;
  const shown = all.value ? n : Math.min(n, few);
  const table = useRef<HTMLTableElement>(null);
  const { copy, copied, by_hand } = useCopy();
  const save = () => {
    const palette = paletteOf(store.dark.peek());
    const left = columns.map((column) => !!column.left);
    const text = tableFigure(caption, rowsOf(table.current as HTMLTableElement), left, palette);
    download(new Blob([text], { type: "image/svg+xml" }), `${caption.toLowerCase().replace(/\W+/g, "-")}.svg`);
  };
  return (
    <div class="table">
      <table ref={table}>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ head, title, left, sort, sorted }) => (
              <th key={head} scope="col" title={title} class={left ? "txt" : ""} aria-sort={sorted ? "descending" : undefined}>
                {sort ? (
                  <button type="button" class="opener" onClick={sort}>
                    {head}
                    {sorted && " ▾"}
                  </button>
                ) : (
                  head
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody onKeyDown={walk}>
          {Array.from({ length: shown }, (_, i) => {
            const it = item?.(i) ?? null;
            const act = pick?.(i) ?? null;
            const over = it && hovering(store, it);
            return (
              <tr
                key={i}
                class={`${act ? "opens" : ""} ${it && sameItem(hover, it) ? "lit" : ""}`}
                onClick={act ?? undefined}
                {...over}
              >
                {columns.map(({ head, left, cell }, c) => (
                  <td key={head} class={left ? `txt ${mono && c === 0 ? "mono" : ""}` : ""}>
                    {act && name && c === 0 ? (
                      <button type="button" class="opener">
                        {name(i)}
                      </button>
                    ) : (
                      cell(i)
                    )}
                  </td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
      <More open={all} n={n - few} />
      <p class="files">
        <button type="button" class="more" onClick={() => copy(csvOf(table.current as HTMLTableElement))}>
          {copied.value ? "✓" : words.copyCsv}
        </button>
        <button type="button" class="more" onClick={save}>
          {words.asSvg}
        </button>
      </p>
      {by_hand.value && <ByHand text={by_hand.value} />}
      {more}
    </div>
  );
}

/** The rows as they are shown. */
const rowsOf = ({ rows }: HTMLTableElement) =>
  Array.from(rows, ({ cells }) => Array.from(cells, ({ textContent }) => textContent.replace(/ ▾$/, "")));

const csvOf = (table: HTMLTableElement) =>
  rowsOf(table)
    .map((row) => row.map((cell) => `"${cell.replace(/"/g, '""')}"`).join())
    .join("\n");

export function More({ open, n }: { open: Signal<boolean>; n: number }) {
  if (n <= 0) return null;
  const toggle = () => {
    open.value = !open.value;
  };
  return (
    <button type="button" class="more" aria-expanded={open.value} onClick={toggle}>
      {open.value ? words.fewer : words.more(n)}
    </button>
  );
}

/** Shows an item in the picture while the pointer or the focus is here. */
export function hovering(store: Store, item: Item) {
  const on = () => {
    if (!sameItem(store.hover.peek(), item)) store.hover.value = item;
  };
  const off = () => {
    store.hover.value = null;
  };
  return { onPointerEnter: on, onPointerLeave: off, onFocusIn: on, onFocusOut: off };
}

/** A bar and its figure. */
export function Amount({ value, of, text, colour = "plain" }: { value: number; of: number; text: string; colour?: string }) {
  return (
    <span class="amount">
      <span class="bar-track">
        <span class={`bar-fill ${colour}`} style={{ width: `${part(value, of)}%` }} />
      </span>
      <span class="number">{text}</span>
    </span>
  );
}

/** Shares as bars, the first one's the longest. */
export function shareColumn(share: number[], colour: string): Column {
  return {
    head: words.shareOf,
    cell: (i) => <Amount value={share[i]} of={share[0]} text={percent(share[i])} colour={colour} />,
  };
}

/** A bar to the left or right of a marked zero, and its figure. */
export function Signed({ value, of }: { value: number | null; of: number }) {
  if (value === null) return <span class="number">–</span>;
  return (
    <span class="amount">
      <span class="bar-track zero">
        <span
          class={`bar-fill ${value < 0 ? "minus" : "plus"}`}
          style={{ width: `${part(Math.abs(value), Math.max(of, SMALLEST)) / 2}%` }}
        />
      </span>
      <span class="number">{signedText(value)}</span>
    </span>
  );
}

const part = (value: number, of: number) => (of > 0 ? Math.max(0, Math.min(100, (100 * value) / of)) : 0);

const SMALLEST = 1e-3; // of a full bar, so that nothing does not look like much
