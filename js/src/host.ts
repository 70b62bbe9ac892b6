// The widget's other side: the host's model, or that of a page without a kernel, which keeps the state and answers what
// the page carries an answer for (as lmtt_widget/saved.py wrote it).

import encodings from "registered:encodings";
import { EDITS } from "./core/edits.js";
import type { GraphMeta } from "./core/graph.js";
import { canonical } from "./core/json.js";
import { type Kinds, type Selection, sameSubject } from "./core/select.js";
import { encodingOf } from "./paint/encoding.js";
import { pack, type Section, unpack, widen } from "./wire.js";
import * as words from "./words.js";

/** What the widget needs of the host's model (anywidget, marimo, the saved page). */
export interface HostModel {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

type State = Record<string, unknown>;
type Callback = () => void;

export class StaticModel implements HostModel {
  #state: State;
  #unsaved = new Set<string>();
  #callbacks = new Map<string, Set<Callback>>();
  #answer: (name: string, state: Readonly<State>) => State;

  /** `answer` gives the traits that change once the trait `name` was set. */
  constructor(state: State, answer: (name: string, state: Readonly<State>) => State) {
    this.#state = state;
    this.#answer = answer;
  }
  get(name: string): unknown {
    return this.#state[name];
  }
  set(name: string, value: unknown): void {
    this.#unsaved.add(name);
    this.receive({ [name]: value });
  }
  /** state arriving from the other side: no echo back */
  receive(state: State): void {
    const changed = Object.keys(state).filter((key) => this.#state[key] !== state[key]);
    for (const key of changed) this.#state[key] = state[key];
    for (const key of changed) for (const callback of [...(this.#callbacks.get(`change:${key}`) ?? [])]) callback();
  }
  save_changes(): void {
    const patches = [...this.#unsaved].map((name) => this.#answer(name, this.#state));
    this.#unsaved.clear();
    queueMicrotask(() => {
      for (const patch of patches) this.receive(patch);
    });
  }
  on(event: string, callback: Callback): void {
    this.#callbacks.set(event, (this.#callbacks.get(event) ?? new Set()).add(callback));
  }
  off(event: string, callback: Callback): void {
    this.#callbacks.get(event)?.delete(callback);
  }
}

type Maps = Record<string, [section: string, dtype: string]>;
type Answer = { question: Selection; maps: Maps } & State;

export interface Analysis {
  shown: State;
  at: number;
  prompts: { prompt: unknown; data: string; edits?: unknown[] }[];
}

interface Prompt {
  prompt: unknown;
  edits: unknown[];
  graph: Section;
  peek: Section;
  before?: Section;
  run: string;
  n_tokens: number;
  answers: Answer[];
  sections: Record<string, Section>;
  shapes: Record<string, number[]>;
}

/** The model of a saved analysis. */
export async function offlineModel({ shown, at, prompts }: Analysis, kinds: Kinds): Promise<StaticModel> {
  const all = await Promise.all(
    prompts.map(async ({ prompt, data, edits = [] }) => unfolded(prompt, edits, await inflated(data))),
  );
  const find = (prompt: unknown) => all.find((one) => canonical(one.prompt) === canonical(prompt)) ?? all[at];
  const { prompt, edits, graph, peek, before } = all[at];
  const state: State = { ...shown, prompts: all.map((one) => one.prompt), prompt, edits, graph, peek, before, offline: true };
  state.detail = detailOf(all[at], state, kinds);
  return new StaticModel(state, (name, now) => {
    const here = find(now.prompt);
    if (name === "selection" || name === "pins" || name === "encoding") return { detail: detailOf(here, now, kinds) };
    if (name !== "prompt") return {};
    const { edits, graph, peek, before, n_tokens } = here;
    const none = { threshold: null, selection: null, pins: [] };
    const detail = edits.length ? detailOf(here, { ...now, ...none, edits }, kinds) : null;
    return { target: n_tokens - 1, ...none, detail, edits, before, graph, peek };
  });
}

async function inflated(base64: string): Promise<ArrayBuffer> {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

function unfolded(prompt: unknown, edits: unknown[], data: ArrayBuffer): Prompt {
  const saved = unpack<{ answers: Answer[] }>(data, "saved");
  const { graph, peek, before } = saved?.sections ?? {};
  const meta = unpack<GraphMeta>(graph, "graph")?.meta;
  if (!saved || !meta) throw new Error(words.nothingSaved);
  const { sections, shapes } = saved;
  const { run, tokens } = meta;
  const { answers } = saved.meta;
  return { prompt, edits, graph, peek, before, run, n_tokens: tokens.text.length, answers, sections, shapes };
}

/** The message that answers the selection and the pins, as Python packs it. */
function detailOf(prompt: Prompt, { selection, pins, encoding, edits }: State, kinds: Kinds): Uint8Array {
  const asked: [string, number, Selection][] = selection ? [["selection", 0, selection as Selection]] : [];
  const { asks } = encodingOf(encodings, encoding as string);
  if (asks) asked.push(["encoding", 0, { kind: asks }]);
  if ((edits as unknown[]).length) asked.push(["edits", 0, EDITS]);
  for (const [i, pin] of (pins as Selection[]).entries()) asked.push(["pin", i, pin]);
  const sections: Parameters<typeof pack>[2] = {};
  const answers = asked.map(([slot, index, question], number) => {
    const { maps, ...answer } = answerTo(prompt, question, kinds);
    for (const [name, [section, dtype]] of Object.entries(maps)) {
      sections[`a${number}.${name}`] = { dtype, shape: prompt.shapes[section], data: prompt.sections[section] };
    }
    return { ...answer, slot, index, question };
  });
  return pack("detail", { run: prompt.run, answers }, sections);
}

/** The answer to a question; what one about the same subject tells of it, where its kind can; else that it was not saved. */
function answerTo(prompt: Prompt, question: Selection, kinds: Kinds): State & { maps: Maps } {
  const less = ({ part: _, ...rest }: Selection) => rest as Selection;
  // A question may name the part also where there is only one.
  const alike = prompt.answers.filter(
    ({ question: saved, part }) =>
      (question.part ?? saved.part ?? part) === part && sameSubject(kinds, less(saved), less(question)),
  );
  const same = alike.find((answer) => canonical(less(answer.question)) === canonical(less(question)));
  if (same) return same;
  const elsewhere = kinds.get(question.kind)?.elsewhere;
  if (!alike.length || !elsewhere) return { error: words.notSaved, maps: {} };
  const [saved] = alike;
  const map = (name: string) => widen(prompt.sections[saved.maps[name][0]] as Uint16Array);
  return { ...saved, ...elsewhere(saved, question, map), maps: saved.maps };
}
