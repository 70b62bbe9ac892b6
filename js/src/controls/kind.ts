// What a kind of question declares: all the widget knows of it. One file in kinds/ each, found by the build.
import type { ComponentType } from "preact";
import type { Answer } from "../core/answer.js";
import type { Comparable } from "../core/difference.js";
import type { Fact } from "../core/facts.js";
import type { Graph } from "../core/graph.js";
import type { Asking, Selection } from "../core/select.js";
import type { Store } from "../store/store.js";

export interface Kind<Q extends Selection = Selection, A extends Answer = Answer> extends Asking<Q> {
  noun: string; // in "Select another attention line to compare."
  /** the sentence above its panel */
  title(g: Graph, question: Q): string;
  /** short, for the trail; the name of its item where none is given, else the title */
  name?(g: Graph, question: Q): string;
  /** Python's own figures, above the panel */
  figures?(answer: A): Fact[];
  Panel: ComponentType<Shown<Q, A>>;
  /** the "?" of the panel: its formulas with the numbers of the case at hand */
  explain?(answer: A): string[];
  /** the tables that are held against those of another answer of this kind */
  compare?(answer: A, g: Graph): Comparable[];
  /** what a comparison shows below its tables */
  Compared?: ComponentType<Sides<A>>;
}

export interface Shown<Q, A> {
  store: Store;
  g: Graph;
  question: Q;
  answer: A;
  go: (selection: Selection) => void; // selects from inside the panel
}

export interface Sides<A> {
  store: Store;
  g: Graph;
  pinned: A;
  now: A;
}

/** Declares a kind with its own types; the widget hands it its own questions and answers only. */
export function kind<Q extends Selection, A extends Answer>(declared: Kind<Q, A>): Kind {
  return declared as unknown as Kind;
}
