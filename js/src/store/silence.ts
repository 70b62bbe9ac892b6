// Whether Python owes an answer for long: nothing else tells a reader that the kernel is gone.
import { effect, type ReadonlySignal, signal } from "@preact/signals";
import type { Answers } from "./answers.js";
import type { Picture } from "./picture.js";
import type { Traits } from "./traits.js";

const LONG = 10_000; // ms

export interface Silence {
  silent: ReadonlySignal<boolean>;
}

export function silenceOf({ traits, offline }: Traits, { graph }: Picture, { answer }: Answers, abort: AbortSignal): Silence {
  const silent = signal(false);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const { value: prompt } = traits.prompt;
    const undrawn = typeof prompt === "string" && graph.value && prompt !== graph.value.meta.prompt;
    const unanswered = traits.selection.value && !answer.value;
    clearTimeout(timer);
    silent.value = false;
    if ((undrawn || unanswered) && !offline && traits.status.value.state !== "running") {
      timer = setTimeout(() => {
        silent.value = true;
      }, LONG);
    }
  });
  abort.addEventListener("abort", () => {
    clearTimeout(timer);
    stop();
  });
  return { silent };
}
