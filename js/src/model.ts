// The traits as one interface, as signals; what is derived from them; writing back.

import { batch, computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Answer } from "./core/answers.js";
import { buildGraph, type Graph, type GraphMeta } from "./core/graph.js";
import { type Columns, columns } from "./core/order.js";
import {
  busyColumns,
  coverage,
  drawnCount,
  type Encoding,
  type Reading,
  type Routes,
  type Scale,
  thresholdScale,
  trace,
  weights,
} from "./core/routes.js";
import { type Item, itemOf, type Selection, sameSubject } from "./core/select.js";
import { canonical } from "./offline.js";
import { type Camera, HOME } from "./views/flow/layout.js";
import { type Section, unpack } from "./wire.js";
import * as words from "./words.js";

export type Prompt = string | number[] | { role: string; content: string }[];

export interface View {
  fold: boolean;
  height: number;
  theme: "auto" | "light" | "dark";
  panel: boolean;
}

export interface Status {
  state: "idle" | "running" | "error";
  text: string;
  done: number;
  total: number;
}

export interface Traits {
  target: number;
  threshold: number | null; // null is automatic
  encoding: Encoding;
  reading: Reading;
  renormalise: boolean;
  normalise: boolean;
  foil: string | number | null;
  selection: Selection | null;
  pins: Selection[];
  view: View;
  prompts: Prompt[];
  prompt: Prompt;
  status: Status;
}

/** What the widget needs of the host's model (anywidget, marimo, the offline page). */
export interface HostModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

export const HEIGHT = { min: 420, max: 900, usual: 560 };

const DEFAULTS: Traits = {
  target: -1,
  threshold: null,
  encoding: "flow",
  reading: "max",
  renormalise: false,
  normalise: true,
  foil: null,
  selection: null,
  pins: [],
  view: { fold: true, height: HEIGHT.usual, theme: "auto", panel: true },
  prompts: [],
  prompt: "",
  status: { state: "idle", text: "", done: 0, total: 0 },
};

export interface Peek {
  text(state: number, pos: number): { text: string; p: number } | null;
}

export interface Store {
  traits: { readonly [K in keyof Traits]: ReadonlySignal<Traits[K]> };
  offline: boolean;
  /** shows at once, and tells Python after `wait` ms; the last value wins */
  write<K extends keyof Traits>(name: K, value: Traits[K], wait?: number): void;
  setView(patch: Partial<View>, wait?: number): void;
  setTarget(pos: number): void;
  setEncoding(encoding: Encoding): void;
  setSelection(selection: Selection | null): void;
  back(): void; // to the selection before this one
  togglePin(): void;

  /** a trait of bytes as the host has it */
  message(name: "graph" | "peek" | "detail"): unknown;
  graph: ReadonlySignal<Graph | null>;
  problem: ReadonlySignal<string | null>; // a message from Python that could not be read
  peek: ReadonlySignal<Peek | null>;
  answer: ReadonlySignal<Answer | null>; // to the present selection
  pinned: ReadonlySignal<Answer | null>; // to the pin

  target: ReadonlySignal<number>; // a valid position
  routes: ReadonlySignal<Routes | null>;
  threshold: ReadonlySignal<number>;
  scale: ReadonlySignal<Scale>;
  n_drawn: ReadonlySignal<number>;
  coverage: ReadonlySignal<number>;
  weight: ReadonlySignal<Float32Array>;
  columns: ReadonlySignal<Columns | null>;
  selected: ReadonlySignal<Item | null>;
  crumbs: ReadonlySignal<Selection[]>;

  // of this view only
  hover: Signal<Item | null>;
  camera: Signal<Camera>;
  sliding: Signal<boolean>; // the fold is frozen meanwhile
  dark: Signal<boolean>;
  narrow: Signal<boolean>;
  said: Signal<string>; // what the live region speaks
  about: Signal<boolean>; // the panel tells of the model
  finding: Signal<boolean>; // the search is open
}

const CRUMBS = 5;

export function createStore(model: HostModel, abort: AbortSignal): Store {
  const stops: (() => void)[] = [];
  const listen = (name: string, callback: () => void) => {
    const event = `change:${name}`;
    model.on(event, callback);
    stops.push(() => model.off(event, callback));
  };

  const timers = new Map<string, { id: ReturnType<typeof setTimeout>; flush: () => void }>();
  const traits = {} as { [K in keyof Traits]: Signal<Traits[K]> };
  const read = <K extends keyof Traits>(name: K): Traits[K] => {
    const value = model.get(name) as Traits[K] | null | undefined;
    if (name === "view") return { ...DEFAULTS.view, ...(value as View) } as Traits[K];
    if (name === "selection") return ((value as Selection | null)?.kind ? value : null) as Traits[K];
    return value == null || (Array.isArray(DEFAULTS[name]) !== Array.isArray(value) && name !== "prompt")
      ? DEFAULTS[name]
      : value;
  };
  const put = <K extends keyof Traits>(name: K, value: Traits[K]) => {
    const s = traits[name] as Signal<Traits[K]>;
    if (!equal(s.peek(), value)) s.value = value;
  };
  for (const name of Object.keys(DEFAULTS) as (keyof Traits)[]) {
    (traits as Record<string, Signal<unknown>>)[name] = signal(read(name));
    listen(name, () => {
      if (!timers.has(name)) put(name, read(name)); // what the reader is still moving wins
    });
  }

  function write<K extends keyof Traits>(name: K, value: Traits[K], wait = 0): void {
    put(name, value);
    clearTimeout(timers.get(name)?.id);
    const flush = () => {
      timers.delete(name);
      if (equal(model.get(name), value)) return;
      model.set(name, value);
      model.save_changes();
    };
    if (wait > 0) timers.set(name, { id: setTimeout(flush, wait), flush });
    else flush();
  }

  const bytes = (name: string) => {
    const s = signal<unknown>(model.get(name));
    listen(name, () => {
      s.value = model.get(name);
    });
    return s;
  };
  const raw = { graph: bytes("graph"), peek: bytes("peek"), detail: bytes("detail") };

  const problem = signal<string | null>(null);
  const hover = signal<Item | null>(null);
  const graph = signal<Graph | null>(null);
  stops.push(
    effect(() => {
      const data = raw.graph.value;
      batch(() => {
        try {
          const container = unpack<GraphMeta>(data, "graph");
          graph.value = container && buildGraph(container);
          problem.value = null;
        } catch (error) {
          problem.value = sentence(error); // the old picture stays
        }
        hover.value = null;
      });
    }),
  );

  const peek = computed<Peek | null>(() => {
    const g = graph.value;
    const c = quietly(() => unpack<{ run: string; vocab: string[] }>(raw.peek.value, "peek"));
    if (!g || !c || c.meta.run !== g.meta.run) return null;
    const { token, p } = c.sections;
    return {
      text(state, pos) {
        const i = state * g.T + pos;
        return token?.[i] >= 0 ? { text: c.meta.vocab[token[i]] ?? "", p: p?.[i] ?? Number.NaN } : null;
      },
    };
  });
  const newest = computed(() => quietly(() => unpack<{ run: string; answers: Answer[] }>(raw.detail.value, "detail")));
  /** The answer that repeats this question; one to an earlier question is late and dropped. */
  const answerTo = (slot: Answer["slot"], question: Selection | null | undefined): Answer | null => {
    const d = newest.value;
    if (!question || !d || d.meta.run !== graph.value?.meta.run) return null;
    const i = d.meta.answers.findIndex((a) => a.slot === slot && equal(a.question, question));
    return i < 0 ? null : { ...d.meta.answers[i], maps: sectionsOf(d.sections, `a${i}.`) };
  };

  const target = computed(() => {
    const T = graph.value?.T ?? 0;
    const t = traits.target.value;
    return T === 0 ? 0 : t < 0 ? Math.max(0, T + t) : Math.min(T - 1, t);
  });
  const routes = computed(() => {
    const g = graph.value;
    return g && trace(g, target.value, traits.encoding.value, traits.reading.value);
  });
  const threshold = computed(() => traits.threshold.value ?? routes.value?.automatic ?? 0);
  const scale = computed(() => (routes.value ? thresholdScale(routes.value) : { low: 1e-4, high: 1 }));
  const n_drawn = computed(() => (routes.value ? drawnCount(routes.value, threshold.value) : 0));
  const covered = computed(() => (graph.value && routes.value ? coverage(graph.value, routes.value, threshold.value) : 0));
  const weight = computed(() =>
    graph.value && routes.value
      ? weights(graph.value, routes.value, traits.renormalise.value ? threshold.value : 0, traits.renormalise.value)
      : new Float32Array(),
  );

  const sliding = signal(false);
  const resting = signal(threshold.peek()); // the threshold the fold was made for
  stops.push(
    effect(() => {
      const t = threshold.value;
      if (!sliding.value) resting.value = t;
    }),
  );
  const foldOn = computed(() => traits.view.value.fold);
  const cols = computed(() => {
    const g = graph.value;
    const r = routes.value;
    return g && r && columns(busyColumns(g, r, resting.value), foldOn.value);
  });

  const camera = signal<Camera>(HOME);
  let run = "";
  stops.push(
    effect(() => {
      const now = graph.value?.meta.run ?? "";
      if (now !== run) camera.value = HOME;
      run = now;
    }),
  );

  const selected = computed(() => (graph.value ? itemOf(graph.value, traits.selection.value) : null));
  const crumbs = signal<Selection[]>([]);
  stops.push(
    effect(() => {
      const s = traits.selection.value;
      const old = crumbs.peek();
      const at = s ? old.findIndex((c) => sameSubject(c, s)) : -1;
      if (!s) crumbs.value = [];
      else crumbs.value = at < 0 ? [...old, s].slice(-CRUMBS) : old.map((c, i) => (i === at ? s : c));
    }),
  );

  abort.addEventListener("abort", () => {
    for (const { id, flush } of [...timers.values()]) {
      clearTimeout(id);
      flush();
    }
    for (const stop of stops.splice(0)) stop();
  });

  const store: Store = {
    traits,
    offline: model.get("offline") === true,
    write,
    setView: (patch, wait) => write("view", { ...traits.view.peek(), ...patch }, wait),
    setTarget(pos) {
      camera.value = { ...camera.peek(), x: camera.peek().zoom === 1 ? null : camera.peek().x };
      write("target", pos);
    },
    setEncoding(encoding) {
      batch(() => {
        write("threshold", null);
        write("encoding", encoding);
      });
    },
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
    message: (name) => raw[name].peek(),
    graph,
    problem,
    peek,
    answer: computed(() => answerTo("selection", traits.selection.value)),
    pinned: computed(() => answerTo("pin", traits.pins.value[0])),
    target,
    routes,
    threshold,
    scale,
    n_drawn,
    coverage: covered,
    weight,
    columns: cols,
    selected,
    crumbs,
    hover,
    camera,
    sliding,
    dark: signal(false),
    narrow: signal(false),
    said: signal(""),
    about: signal(false),
    finding: signal(false),
  };
  return store;
}

function sectionsOf(sections: Record<string, Section>, before: string): Record<string, Section> {
  const mine = Object.entries(sections).filter(([name]) => name.startsWith(before));
  return Object.fromEntries(mine.map(([name, section]) => [name.slice(before.length), section]));
}

function equal(a: unknown, b: unknown): boolean {
  return a === b || canonical(a) === canonical(b);
}

function quietly<T>(f: () => T | null): T | null {
  try {
    return f();
  } catch {
    return null;
  }
}

export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : words.unknownError;
}
