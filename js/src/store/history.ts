// The reader's way over prompt, target, threshold, encoding, tokens and selection: back, and forward again.
import { batch, computed, effect, type ReadonlySignal, signal } from "@preact/signals";
import { canonical, equal } from "../core/json.js";
import type { Picture } from "./picture.js";
import type { Traits } from "./traits.js";

export interface History {
  has_back: ReadonlySignal<boolean>;
  has_forward: ReadonlySignal<boolean>;
  goBack(): void;
  goForward(): void;
}

const ON_THE_WAY = ["encoding", "edits", "target", "threshold", "token", "foil", "selection"] as const; // in the order they are set again
const REST = 250; // ms without a change make a step of it
const MOST = 100;

interface Step {
  run: string | undefined; // of the picture it was seen with
  prompt: unknown;
  kept: Record<(typeof ON_THE_WAY)[number], unknown>;
}

export function historyOf({ traits, write }: Traits, { graph, sliding }: Picture, abort: AbortSignal): History {
  const steps = signal<Step[]>([]);
  const at = signal(-1);
  let waits: Step | null = null; // for its prompt to be shown
  let timer: ReturnType<typeof setTimeout> | undefined;
  const now = (): Step => ({
    run: graph.value?.meta.run,
    prompt: traits.prompt.value,
    kept: Object.fromEntries(ON_THE_WAY.map((name) => [name, traits[name].value])) as Step["kept"],
  });
  const note = () => {
    clearTimeout(timer);
    const [step, last] = [now(), steps.peek()[at.peek()]];
    if (waits || !step.run || same(step, last)) return;
    // The traits of a new prompt, or of new edits, arrive one by one, some before their picture.
    const arriving = last && last.run !== step.run && passOf(last) === passOf(step);
    const before = steps.peek().slice(0, at.peek() + (arriving ? 0 : 1));
    steps.value = [...before, step].slice(-MOST);
    at.value = steps.peek().length - 1;
  };
  const set = ({ kept }: Step) =>
    batch(() => {
      for (const name of ON_THE_WAY) {
        if (!equal(traits[name].peek(), kept[name])) write(name, kept[name] as never);
      }
    });
  const go = (by: number) => {
    note();
    const step = steps.peek()[at.peek() + by];
    if (!step) return;
    at.value += by;
    if (canonical(step.prompt) === canonical(traits.prompt.peek())) return set(step);
    waits = step;
    write("prompt", step.prompt as never);
  };
  const stops = [
    effect(() => {
      now();
      clearTimeout(timer);
      if (!sliding.value) timer = setTimeout(note, REST);
    }),
    effect(() => {
      const run = graph.value?.meta.run;
      const step = waits;
      if (!step || !run || canonical(traits.prompt.peek()) !== canonical(step.prompt)) return;
      waits = null;
      step.run = run;
      setTimeout(() => set(step)); // once all that follows the prompt is here
    }),
    effect(() => {
      if (traits.status.value.state === "error") waits = null;
    }),
  ];
  abort.addEventListener("abort", () => {
    clearTimeout(timer);
    for (const stop of stops) stop();
  });
  return {
    has_back: computed(() => at.value > 0),
    has_forward: computed(() => at.value < steps.value.length - 1),
    goBack: () => go(-1),
    goForward: () => go(1),
  };
}

const passOf = ({ prompt, kept }: Step) => canonical([prompt, kept.edits]);

function same(a: Step, b: Step | undefined): boolean {
  return b !== undefined && canonical(a.prompt) === canonical(b.prompt) && equal(a.kept, b.kept);
}
