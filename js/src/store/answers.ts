// What Python says: the lens of the states on show, the answers to the selection and to the pin.
import { computed, type ReadonlySignal } from "@preact/signals";
import type { Answer } from "../core/answer.js";
import type { EditsAnswer } from "../core/answers.js";
import { EDITS } from "../core/edits.js";
import type { Peek } from "../core/facts.js";
import { equal } from "../core/json.js";
import type { Selection } from "../core/select.js";
import { type Container, type Section, unpack } from "../wire.js";
import type { Picture } from "./picture.js";
import type { Traits } from "./traits.js";

export interface Answers {
  peek: ReadonlySignal<Peek | null>;
  answer: ReadonlySignal<Answer | null>; // to the present selection
  pinned: ReadonlySignal<Answer | null>; // to the pin
  verdict: ReadonlySignal<EditsAnswer | null>; // what the edits did
  of_encoding: ReadonlySignal<Answer | null>; // to what the encoding asks
}

export function answersOf({ traits, messages }: Traits, { graph, encoding }: Picture): Answers {
  /** The message, if it can be read and is about the run on show. */
  const current = <Meta extends { run: string }>(name: "peek" | "detail"): ReadonlySignal<Container<Meta> | null> => {
    const newest = computed(() => {
      try {
        return unpack<Meta>(messages[name].value, name);
      } catch {
        return null;
      }
    });
    return computed(() => (newest.value && newest.value.meta.run === graph.value?.meta.run ? newest.value : null));
  };
  const lens = current<{ run: string; vocab: string[] }>("peek");
  const detail = current<{ run: string; answers: Answer[] }>("detail");
  /** The answer that repeats this question; one to an earlier question is late and dropped. */
  const answerTo = (slot: Answer["slot"], question: Selection | null | undefined): Answer | null => {
    const d = detail.value;
    const i = d && question ? d.meta.answers.findIndex((a) => a.slot === slot && equal(a.question, question)) : -1;
    return d && i >= 0 ? { ...d.meta.answers[i], maps: sectionsOf(d.sections, `a${i}.`) } : null;
  };
  return {
    peek: computed(() => {
      const [g, message] = [graph.value, lens.value];
      if (!g || !message) return null;
      const { token, p } = message.sections;
      return {
        text(state, pos) {
          const i = state * g.T + pos;
          return token?.[i] >= 0 ? { text: message.meta.vocab[token[i]] ?? "", p: p?.[i] ?? Number.NaN } : null;
        },
      };
    }),
    answer: computed(() => answerTo("selection", traits.selection.value)),
    verdict: computed(() => {
      const found = answerTo("edits", EDITS);
      return found?.error ? null : (found as EditsAnswer | null);
    }),
    of_encoding: computed(() => {
      const { asks } = encoding.value;
      const found = asks ? answerTo("encoding", { kind: asks }) : null;
      return found?.error ? null : found;
    }),
    pinned: computed(() => answerTo("pin", traits.pins.value[0])),
  };
}

function sectionsOf(sections: Record<string, Section>, before: string): Record<string, Section> {
  const mine = Object.entries(sections).filter(([name]) => name.startsWith(before));
  return Object.fromEntries(mine.map(([name, section]) => [name.slice(before.length), section]));
}
