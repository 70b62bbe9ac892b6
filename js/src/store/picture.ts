// What is drawn: the graph, the routes to the target, what of them passes the threshold and where it stands.
import encodings from "registered:encodings";
import { batch, computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { HeadsAnswer } from "../core/answers.js";
import { areAlike, flowsMore } from "../core/between.js";
import { type Camera, HOME } from "../core/camera.js";
import { placesOf } from "../core/edits.js";
import type { OwnFigure } from "../core/facts.js";
import { buildGraph, type Graph, type GraphMeta, placeOf } from "../core/graph.js";
import { percent } from "../core/numbers.js";
import { type Columns, columns } from "../core/order.js";
import {
  busyColumns,
  coverage,
  drawnCount,
  type Routes,
  reachable,
  type Scale,
  type Settings,
  thresholdScale,
  trace,
} from "../core/routes.js";
import { type Item, itemOf, type Kinds } from "../core/select.js";
import { BY_KIND, type Encoding, encodingOf, gainedAndLost, type Hues, huesOf } from "../paint/encoding.js";
import { unpack } from "../wire.js";
import { sentence } from "../words.js";
import type { Prompt, Traits } from "./traits.js";

export interface Picture {
  graph: ReadonlySignal<Graph | null>;
  problem: ReadonlySignal<string | null>; // a message from Python that could not be read
  target: ReadonlySignal<number>; // a valid position
  encoding: ReadonlySignal<Encoding>;
  settings: ReadonlySignal<Settings>; // of the encodings
  hues: ReadonlySignal<Hues>;
  kept: ReadonlySignal<Kept | null>; // a picture that stays beside the next ones, or the one without the edits
  beside_edits: Signal<boolean>; // the latter is shown
  places: ReadonlySignal<[number, number][]>; // of the edits, from node to node
  comparing: Signal<boolean>; // lines are coloured by what both pictures have more and less of
  hues_kept: ReadonlySignal<Hues | null>; // of the kept picture, while comparing
  top_weight: ReadonlySignal<number>; // the full line width, of both pictures
  keep(): void;
  holdAgainst(prompt: Prompt): void; // runs another prompt beside this picture, coloured by what differs
  unkeep(): void;
  asked: Signal<HeadsAnswer | null>; // the answer that the encoding draws
  routes: ReadonlySignal<Routes | null>;
  threshold: ReadonlySignal<number>;
  scale: ReadonlySignal<Scale>;
  n_drawn: ReadonlySignal<number>;
  shown: ReadonlySignal<number | null>; // of what tokens can have, by the lines drawn; null where nothing can reach one
  weight: ReadonlySignal<Float32Array>;
  selected: ReadonlySignal<Item | null>;
  columns: ReadonlySignal<Columns | null>;
  own: ReadonlySignal<OwnFigure | null>; // how the encoding calls and says its weight
  setTarget(pos: number): void;
  setEncoding(name: string): void;

  // of this view only
  hover: Signal<Item | null>;
  camera: Signal<Camera>;
  sliding: Signal<boolean>; // the fold is frozen meanwhile
}

/** A picture as it was. */
export interface Kept {
  g: Graph;
  routes: Routes;
  threshold: number;
  weight: Float32Array;
  hues: Hues;
  is_clean?: boolean; // the present picture without its edits
}

export function pictureOf({ traits, messages, write }: Traits, kinds: Kinds, abort: AbortSignal): Picture {
  const until = (stop: () => void) => abort.addEventListener("abort", stop);
  const graph = signal<Graph | null>(null);
  const problem = signal<string | null>(null);
  const hover = signal<Item | null>(null);
  const camera = signal<Camera>(HOME);
  until(
    effect(() => {
      const data = messages.graph.value;
      batch(() => {
        try {
          const container = unpack<GraphMeta>(data, "graph");
          const g = container && buildGraph(container);
          if (g?.meta.run !== graph.peek()?.meta.run) camera.value = HOME;
          graph.value = g;
          problem.value = null;
        } catch (error) {
          problem.value = sentence(error); // the old picture stays
        }
        hover.value = null;
      });
    }),
  );

  const target = computed(() => {
    const T = graph.value?.T ?? 0;
    const t = traits.target.value;
    return T === 0 ? 0 : t < 0 ? Math.max(0, T + t) : Math.min(T - 1, t);
  });
  const encoding = computed(() => encodingOf(encodings, traits.encoding.value));
  const asked = signal<HeadsAnswer | null>(null);
  const settings = computed(() => ({
    reading: traits.reading.value,
    renormalise: traits.renormalise.value,
    answer: encoding.value.asks ? asked.value : null,
  }));
  // Apart from the routes, so that a setting that leaves it as it is traces nothing anew.
  const passing = computed(() => graph.value && encoding.value.passing(graph.value, settings.value));
  const routes = computed(() => {
    const g = graph.value;
    return g && trace(g, target.value, { ...encoding.value, passing: () => passing.value }, settings.peek());
  });
  const threshold = computed(() => traits.threshold.value ?? routes.value?.automatic ?? 0);
  const scale = computed(() => (routes.value ? thresholdScale(routes.value, encoding.value.reach) : { low: 1e-4, high: 1 }));
  const n_drawn = computed(() => (routes.value ? drawnCount(routes.value, threshold.value) : 0));
  const shown = computed(() => {
    const [g, r] = [graph.value, routes.value];
    const whole = r ? reachable(r) : 0;
    return g && r && whole > 5e-4 ? Math.min(1, coverage(g, r, threshold.value) / whole) : null;
  });
  const weight = computed(() =>
    graph.value && routes.value
      ? encoding.value.weight(graph.value, routes.value, () => threshold.value, settings.value)
      : new Float32Array(),
  );

  const chosen = signal<Kept | null>(null);
  const beside_edits = signal(true);
  const clean_graph = computed(() => {
    try {
      const container = traits.edits.value.length > 0 && unpack<GraphMeta>(messages.before.value, "graph");
      return container ? buildGraph(container) : null;
    } catch {
      return null;
    }
  });
  const clean = computed((): Kept | null => {
    const [g, r] = [clean_graph.value, routes.value];
    if (!g || !r || r.target >= g.T) return null;
    // Whatever the encoding asks of Python was asked about the edited pass.
    const drawn = encoding.value.asks ? encodingOf(encodings, "flow") : encoding.value;
    const own = { ...settings.value, answer: null };
    const traced = trace(g, r.target, drawn, own);
    const least = traits.threshold.value ?? traced.automatic;
    const weight = drawn.weight(g, traced, () => least, own);
    return { g, routes: traced, threshold: least, weight, hues: huesOf(drawn, g, traced, own), is_clean: true };
  });
  const kept = computed(() => chosen.value ?? (beside_edits.value ? clean.value : null));
  const places = computed(() => (graph.value ? placesOf(graph.value, traits.edits.value) : []));
  const comparing = signal(false);
  const alike = computed(() => {
    const [k, g, r] = [kept.value, graph.value, routes.value];
    return k && g && r && areAlike(k.g, g) ? { k, g, r } : null;
  });
  const hues_kept = computed(() => {
    const both = comparing.value ? alike.value : null;
    return both && gainedAndLost(flowsMore(both.k.g, both.k.routes, both.g, both.r), -1, both.k.routes.top_weight);
  });
  const top_weight = computed(() => Math.max(routes.value?.top_weight ?? 0, kept.value?.routes.top_weight ?? 0));
  const own_hues = computed(() =>
    graph.value && routes.value ? huesOf(encoding.value, graph.value, routes.value, settings.value) : BY_KIND,
  );

  const hues = computed(() => {
    const both = comparing.value ? alike.value : null;
    return both ? gainedAndLost(flowsMore(both.g, both.r, both.k.g, both.k.routes), 1, both.r.top_weight) : own_hues.value;
  });
  const own = computed((): OwnFigure | null => {
    const [g, r, { fact, says }, now] = [graph.value, routes.value, encoding.value, settings.value];
    const name = fact?.(now);
    return g && r && name ? { name, value: (e) => says?.(g, r, now, e) ?? percent(weight.value[e]) } : null;
  });

  const sliding = signal(false);
  const resting = signal(threshold.peek()); // the threshold the fold was made for
  until(
    effect(() => {
      const t = threshold.value;
      if (!sliding.value) resting.value = t;
    }),
  );
  const is_folded = computed(() => traits.view.value.fold);
  const selected = computed(() => (graph.value ? itemOf(kinds, graph.value, traits.selection.value) : null));
  const unfolded = computed(() => columnsOf(graph.value, selected.value).join()); // as text: most selections fold nothing anew
  const shown_columns = computed(() => {
    const [g, r] = [graph.value, routes.value];
    if (!g || !r) return null;
    const busy = busyColumns(g, r, resting.value);
    const beside = alike.value?.k;
    if (beside) for (const [pos, one] of busyColumns(beside.g, beside.routes, beside.threshold).entries()) busy[pos] |= one;
    busy[r.target] = 1;
    for (const pos of unfolded.value.split(",")) if (pos) busy[Number(pos)] = 1;
    return columns(busy, is_folded.value);
  });

  const keep = () => {
    const [g, r] = [graph.peek(), routes.peek()];
    comparing.value = false;
    chosen.value = g && r && { g, routes: r, threshold: threshold.peek(), weight: weight.peek(), hues: own_hues.peek() };
  };
  return {
    ...{
      graph,
      problem,
      target,
      encoding,
      settings,
      hues,
      own,
      kept,
      beside_edits,
      places,
      comparing,
      hues_kept,
      top_weight,
      asked,
      routes,
      threshold,
      scale,
      n_drawn,
      shown,
      weight,
      selected,
      columns: shown_columns,
    },
    ...{ hover, camera, sliding },
    keep,
    holdAgainst(prompt) {
      batch(() => {
        keep();
        comparing.value = true;
        write("prompt", prompt);
      });
    },
    unkeep() {
      comparing.value = false;
      if (chosen.peek()) chosen.value = null;
      else beside_edits.value = false;
    },
    setTarget(pos) {
      const now = camera.peek();
      camera.value = { ...now, x: now.zoom === 1 ? null : now.x };
      write("target", pos);
    },
    setEncoding(name) {
      batch(() => {
        write("threshold", null);
        write("encoding", name);
      });
    },
  };
}

/** The columns a selection in a fold needs to be seen in. */
function columnsOf(g: Graph | null, item: Item | null): number[] {
  if (!g || !item) return [];
  if (item.kind === "token") return [item.pos];
  const nodes = item.kind === "node" ? [item.node] : [g.source[item.edge], g.entered[item.edge]];
  return nodes.map((node) => placeOf(g, node).pos);
}
