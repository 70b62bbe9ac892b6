// What the reader looks into: the selection, the way that led there, the pin, and what is open in this view.
import { effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import { cutOf } from "../core/edits.js";
import type { Graph } from "../core/graph.js";
import { equal } from "../core/json.js";
import { type Kinds, type Selection, sameSubject } from "../core/select.js";
import type { Traits } from "./traits.js";

export interface Reader {
  kinds: Kinds; // of questions
  crumbs: ReadonlySignal<Selection[]>;
  setSelection(selection: Selection | null): void;
  back(): void; // to the selection before this one
  togglePin(): void;
  cut(question: Selection | null): void; // edits the pass: without what is selected
  undo(): void; // the last edit

  // of this view only
  said: Signal<string>; // what the live region speaks
  dimmed: Signal<boolean>; // the selection steps back in the picture
  about: Signal<boolean>; // the panel tells of the model
  finding: Signal<boolean>; // the search is open
  measure: Signal<string>; // what heads are shown by
}

const CRUMBS = 5;

export function readerOf(
  { traits, write, offline }: Traits,
  graph: ReadonlySignal<Graph | null>,
  kinds: Kinds,
  abort: AbortSignal,
): Reader {
  const crumbs = signal<Selection[]>([]);
  const dimmed = signal(false);
  const stop = effect(() => {
    const s = traits.selection.value;
    dimmed.value = false;
    const old = crumbs.peek();
    const at = s ? old.findIndex((c) => sameSubject(kinds, c, s)) : -1;
    if (!s) crumbs.value = [];
    else crumbs.value = at < 0 ? [...old, s].slice(-CRUMBS) : old.map((c, i) => (i === at ? s : c));
  });
  abort.addEventListener("abort", stop);
  return {
    kinds,
    crumbs,
    setSelection: (selection) => write("selection", selection),
    back() {
      const now = traits.selection.peek();
      const rest = crumbs.peek().filter((c) => !equal(c, now));
      crumbs.value = rest;
      write("selection", rest.at(-1) ?? null);
    },
    togglePin() {
      const now = traits.selection.peek();
      if (now) write("pins", traits.pins.peek().some((pin) => equal(pin, now)) ? [] : [now]);
    },
    cut(question) {
      const g = graph.peek();
      const edit = LIVE && !offline && g && question && cutOf(g, question);
      if (edit) write("edits", [...traits.edits.peek(), edit]);
    },
    undo() {
      if (LIVE && !offline) write("edits", traits.edits.peek().slice(0, -1));
    },
    said: signal(""),
    dimmed,
    about: signal(false),
    finding: signal(false),
    measure: signal("share"),
  };
}
