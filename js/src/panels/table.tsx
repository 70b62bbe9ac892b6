// Tables of tokens and figures: bars, signed bars, rows that hover and open something.

import type { Signal } from "@preact/signals";
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import type { Tokens, Update } from "../core/answers.js";
import { percent, visible } from "../core/names.js";
import { type Item, sameItem } from "../core/select.js";
import type { Store } from "../model.js";
import * as words from "../words.js";

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
  caption: string;
  columns: Column[];
  n: number;
  few?: number; // rows shown at first
  name?: (i: number) => string; // of row i, for the first column of rows that open something
  mono?: boolean;
  pick?: (i: number) => (() => void) | null;
  item?: (i: number) => Item | null; // what row i is in the picture
  quiet?: boolean; // the caption is for readers who cannot see the heading above
  more?: ComponentChildren;
}

export function Table({ store, caption, columns, n, few = n, name, mono, pick, item, quiet, more }: TableProps) {
  const all = useSignal(false);
  const hover = store.hover.value;
  const shown = all.value ? n : Math.min(n, few);
  return (
    <div class="table">
      <table>
        <caption class={quiet ? "unseen" : ""}>{caption}</caption>
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
      {more}
    </div>
  );
}

function More({ open, n }: { open: Signal<boolean>; n: number }) {
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

/** Up and down move among the rows that open something. */
export function walk(event: KeyboardEvent): void {
  const step = { ArrowDown: 1, ArrowUp: -1, Home: -1e6, End: 1e6 }[event.key];
  if (!step) return;
  const rows = [...(event.currentTarget as Element).querySelectorAll<HTMLElement>("button")];
  const at = rows.indexOf(event.target as HTMLElement);
  if (at < 0) return;
  event.preventDefault();
  rows[Math.max(0, Math.min(rows.length - 1, at + step))].focus();
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
const NOTHING = 5e-7; // below what float32 tells from zero in a sum of logits

/** +0.032, −1.14, with a minus sign as wide as the plus */
export function signedText(x: number | null): string {
  if (x === null) return "–";
  if (Math.abs(x) < NOTHING) return "0";
  return `${x < 0 ? "−" : "+"}${figure(Math.abs(x))}`;
}

/** Three digits that mean something: 12.3, 1.23, 0.0123. */
export function figure(x: number): string {
  const size = Math.abs(x);
  if (size >= 100) return x.toFixed(0);
  if (size >= 10) return x.toFixed(1);
  if (size >= 0.1 || size === 0) return x.toFixed(2);
  return size < 0.0005 ? x.toExponential(0) : x.toFixed(size >= 0.01 ? 3 : 4);
}

export const largest = (values: (number | null)[]) => values.reduce<number>((most, v) => Math.max(most, Math.abs(v ?? 0)), 0);

/** What an update raises and lowers most, side by side on one scale. */
export function UpdateTables({ update, few = 8 }: { update: Update; few?: number }) {
  const of = largest([...update.promoted.score, ...update.suppressed.score]);
  const rows = useSignal(false);
  const side = (title: string, list: Tokens) => (
    <table>
      <caption>{title}</caption>
      <thead class="unseen">
        <tr>
          <th scope="col">{words.token}</th>
          <th scope="col">{words.score}</th>
        </tr>
      </thead>
      <tbody>
        {list.id.slice(0, rows.value ? list.id.length : few).map((id, i) => (
          <tr key={id}>
            <td class="txt mono" title={visible(list.text[i])}>
              {visible(list.text[i])}
            </td>
            <td
              class={`behind ${list.score[i] < 0 ? "minus" : "plus"}`}
              style={{ "--at": part(Math.abs(list.score[i]), of) / 100 }}
            >
              {signedText(list.score[i])}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
  const n = Math.max(update.promoted.id.length, update.suppressed.id.length);
  return (
    <div class="table">
      <div class="sides">
        {side(words.promoted, update.promoted)}
        {side(words.suppressed, update.suppressed)}
      </div>
      <More open={rows} n={n - few} />
    </div>
  );
}
