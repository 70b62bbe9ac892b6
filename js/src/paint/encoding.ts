// What an encoding declares: which edges are drawn, how wide and in which colour, and what is said about it. One file in
// encodings/ each, found by the build.
import { EdgeKind, type Graph } from "../core/graph.js";
import type { Measure, Routes, Settings } from "../core/routes.js";
import * as words from "../words.js";
import type { Palette } from "./colour.js";

export interface Encoding extends Measure {
  name: string; // what the trait calls it
  label: string; // on its button, and what the legend says the width is
  title: string;
  place?: number; // among the buttons; 0 where it is not given
  automaticTitle: string; // what its automatic threshold does
  reach?: number; // a threshold the slider goes to at least
  /** the width of every edge [edge], before it is scaled; `threshold` is asked for only where it matters */
  weight(g: Graph, routes: Routes, threshold: () => number, settings: Settings): Float32Array;
  hues?: Hues | ((g: Graph, routes: Routes, settings: Settings) => Hues); // by the kind of edge where none are given
  asks?: string; // the kind of question, without fields, whose answer it draws
  /** what a width stands for, in the legend; a share where it is not given */
  scale?(g: Graph, routes: Routes, settings: Settings): (weight: number) => string;
  /** the weight of an edge as it is said; a share where it is not given */
  says?(g: Graph, routes: Routes, settings: Settings, edge: number): string;
  /** one sentence */
  legend(settings: Settings): string;
  /** what the weight is called among an edge's facts, where they do not have it already */
  fact?(settings: Settings): string | null;
  controls?: readonly Control[];
}

/** A trait that the toolbar sets beside this encoding. */
export type Control =
  | { trait: "reading"; label: string; options: [value: Settings["reading"], text: string, title: string][] }
  | { trait: "renormalise"; text: string; title: string };

/** Edges that share a colour, those in front last. */
export interface Hues {
  names: string[]; // [hue], for the legend
  of(g: Graph, e: number): number;
  square?(g: Graph, node: number): number; // the hue of a part's square; that of MLPs where it is not given
  colour(palette: Palette, hue: number): string;
}

const BACK_TO_FRONT = [EdgeKind.carried, EdgeKind.read, EdgeKind.part, EdgeKind.attention];
const HUE = BACK_TO_FRONT.map((_, kind) => BACK_TO_FRONT.indexOf(kind as 0));

export const BY_KIND: Hues = {
  names: ["", "", "", ""], // the legend knows the kinds itself
  of: (g, e) => HUE[g.kind[e]],
  colour: (palette, hue) => (hue === 0 ? palette.residual : hue === 3 ? palette.attention : palette.mlp),
};

export function huesOf({ hues }: Encoding, g: Graph, routes: Routes, settings: Settings): Hues {
  return typeof hues === "function" ? hues(g, routes, settings) : (hues ?? BY_KIND);
}

const LITTLE = 0.05; // of the full line width: less is no difference

/** By what a picture has more of than another; `sign` -1: seen from the other one. */
export function gainedAndLost(more: Float32Array, sign: number, top_weight: number): Hues {
  const least = LITTLE * top_weight;
  return {
    names: [words.asBefore, words.lost, words.gained],
    of: (_, e) => (sign * more[e] > least ? 2 : sign * more[e] < -least ? 1 : 0),
    colour: (palette, hue) => [palette.residual, palette.lost, palette.gained][hue],
  };
}

/** In the order of their buttons. */
export function inPlace(encodings: readonly Encoding[]): Encoding[] {
  return [...encodings].sort((a, b) => (a.place ?? 0) - (b.place ?? 0));
}

/** The encoding a trait names; the first where this bundle has no such one. */
export function encodingOf(encodings: readonly Encoding[], name: string): Encoding {
  return encodings.find((one) => one.name === name) ?? inPlace(encodings)[0];
}
