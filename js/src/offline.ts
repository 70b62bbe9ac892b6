// The model of a page without a kernel: keeps the state, answers what the page carries an answer for.
// The page carries what lmtt_widget/saved.py writes.

import type { HeadAnswer } from "./core/answers.js";
import type { GraphMeta } from "./core/graph.js";
import type { HostModel } from "./model.js";
import { pack, type Section, unpack, widen } from "./wire.js";
import * as words from "./words.js";

/** JSON with sorted keys, so that Python's key order does not matter. */
export function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, v) =>
      v && typeof v === "object" && !Array.isArray(v)
        ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
        : v,
    ) ?? "undefined"
  );
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
type Answer = { question: State; maps: Maps } & State;

export interface Analysis {
  shown: State;
  at: number;
  prompts: { prompt: unknown; data: string }[];
}

interface Prompt {
  prompt: unknown;
  graph: Section;
  peek: Section;
  run: string;
  n_tokens: number;
  answers: Answer[];
  sections: Record<string, Section>;
  shapes: Record<string, number[]>;
}

/** The model of a saved analysis. */
export async function offlineModel({ shown, at, prompts }: Analysis): Promise<StaticModel> {
  const all = await Promise.all(prompts.map(async ({ prompt, data }) => unfolded(prompt, await inflated(data))));
  const find = (prompt: unknown) => all.find((one) => canonical(one.prompt) === canonical(prompt)) ?? all[at];
  const { prompt, graph, peek } = all[at];
  const state: State = { ...shown, prompts: all.map((one) => one.prompt), prompt, graph, peek, offline: true };
  state.detail = detailOf(all[at], state);
  return new StaticModel(state, (name, now) => {
    const here = find(now.prompt);
    if (name === "selection" || name === "pins") return { detail: detailOf(here, now) };
    if (name !== "prompt") return {};
    const { graph, peek, n_tokens } = here;
    return { target: n_tokens - 1, threshold: null, selection: null, pins: [], detail: null, graph, peek };
  });
}

async function inflated(base64: string): Promise<ArrayBuffer> {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

function unfolded(prompt: unknown, data: ArrayBuffer): Prompt {
  const saved = unpack<{ answers: Answer[] }>(data, "saved");
  const { graph, peek } = saved?.sections ?? {};
  const meta = unpack<GraphMeta>(graph, "graph")?.meta;
  if (!saved || !meta) throw new Error(words.nothingSaved);
  const { sections, shapes } = saved;
  return { prompt, graph, peek, run: meta.run, n_tokens: meta.tokens.text.length, answers: saved.meta.answers, sections, shapes };
}

/** The message that answers the selection and the pins, as Python packs it. */
function detailOf(prompt: Prompt, { selection, pins }: State): Uint8Array {
  const asked: [string, number, State][] = selection ? [["selection", 0, selection as State]] : [];
  for (const [i, pin] of (pins as State[]).entries()) asked.push(["pin", i, pin]);
  const sections: Parameters<typeof pack>[2] = {};
  const answers = asked.map(([slot, index, question], number) => {
    const { maps, ...answer } = answerTo(prompt, question);
    for (const [name, [section, dtype]] of Object.entries(maps)) {
      sections[`a${number}.${name}`] = { dtype, shape: prompt.shapes[section], data: prompt.sections[section] };
    }
    return { ...answer, slot, index, question };
  });
  return pack("detail", { run: prompt.run, answers }, sections);
}

/** The answer to a question; of a head seen at another cell its maps and numbers there; else that it was not saved. */
function answerTo(prompt: Prompt, question: State): State & { maps: Maps } {
  const less = ({ part: _, ...rest }: State) => canonical(rest);
  const head = ({ query: _, key: __, ...rest }: State) => less(rest);
  // A question may name the part also where there is only one.
  const samePart = ({ question: own, part }: Answer) => (question.part ?? own.part ?? part) === part;
  const same = prompt.answers.find((answer) => samePart(answer) && less(answer.question) === less(question));
  if (same) return same;
  const alike =
    question.kind === "head" && prompt.answers.find((answer) => samePart(answer) && head(answer.question) === head(question));
  if (!alike) return { error: words.notSaved, maps: {} };
  const [query, key] = [question.query as number, (question.key ?? null) as number | null];
  const row = (name: string) => {
    const map = widen(prompt.sections[alike.maps[name][0]] as Uint16Array);
    return map.subarray(query * prompt.n_tokens, (query + 1) * prompt.n_tokens);
  };
  const share = key === null ? row("contribution").reduce((a, b) => a + b, 0) : row("contribution")[key];
  const attention = key === null ? null : row("pattern")[key];
  const unknown = { effect: null, effect_key: null, all: null, this_key: null, note: words.notSaved };
  const here: Partial<HeadAnswer> = { ...unknown, query, key, attention, share };
  return { ...alike, ...here, maps: alike.maps };
}
