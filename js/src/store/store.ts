// All that one view of the widget knows, as signals.
import { effect, type Signal, signal } from "@preact/signals";
import type { HeadsAnswer } from "../core/answers.js";
import type { Kinds } from "../core/select.js";
import type { HostModel } from "../host.js";
import { type Answers, answersOf } from "./answers.js";
import { type History, historyOf } from "./history.js";
import { type Picture, pictureOf } from "./picture.js";
import { type Reader, readerOf } from "./reading.js";
import { type Silence, silenceOf } from "./silence.js";
import { type Traits, traitsOf } from "./traits.js";

interface Looks {
  dark: Signal<boolean>;
  narrow: Signal<boolean>;
  settled: Signal<boolean>; // the first picture is drawn: what it can do without may follow
}

export type Store = Traits & Picture & Reader & Answers & History & Silence & Looks;

/** Listens to the host until `abort`. */
export function createStore(model: HostModel, kinds: Kinds, abort: AbortSignal): Store {
  const traits = traitsOf(model, abort);
  const picture = pictureOf(traits, kinds, abort);
  const reader = readerOf(traits, picture.graph, kinds, abort);
  const answers = answersOf(traits, picture);
  const stop = effect(() => {
    picture.asked.value = answers.of_encoding.value as HeadsAnswer | null;
  });
  abort.addEventListener("abort", stop);
  return {
    ...{
      ...traits,
      ...picture,
      ...reader,
      ...answers,
      ...historyOf(traits, picture, abort),
      ...silenceOf(traits, picture, answers, abort),
    },
    dark: signal(false),
    narrow: signal(false),
    settled: signal(false),
  };
}
