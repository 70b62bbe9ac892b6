// Which neurons and heads anywhere in the model write a word; each can be looked into, and switched off at every token.
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, Table } from "../controls/table.js";
import type { WordAnswer, Writers } from "../core/answers.js";
import { writerName } from "../core/edits.js";
import { visible } from "../core/names.js";
import { largest } from "../core/numbers.js";
import { named, type Selection } from "../core/select.js";
import * as words from "../words.js";

interface WordQuestion extends Selection {
  kind: "word";
  word: string | number;
}

const own = {
  title: (word: string) => `What writes ${word}`,
  how: "Read off the weights, without a prompt: logits a neuron adds for each unit of its activation; of a head, for values of length 1.",
  lists: {
    promoting: "Neurons that raise it",
    suppressing: "Neurons that lower it",
    heads: "Heads that reach it",
  },
  part: "part",
  off: "Switch it off at every token; the picture then has a list to scale it by",
};

export default kind<WordQuestion, WordAnswer>({
  kind: "word",
  noun: "word",
  needs: [],
  title: (_, { word }) => own.title(visible(String(word))),
  Panel: (shown) => (
    <>
      <p class="how">{own.how}</p>
      {(["promoting", "suppressing", "heads"] as const).map((list) => (
        <Section key={list} title={own.lists[list]}>
          <Written {...shown} list={list} />
        </Section>
      ))}
    </>
  ),
});

function Written({ store, g, answer, go, list }: Shown<WordQuestion, WordAnswer> & { list: keyof typeof own.lists }) {
  const { part, state, number, expert, score }: Writers = answer[list];
  const edit = (i: number) =>
    list === "heads"
      ? { kind: "head", state: state[i], head: number[i], part: part[i] }
      : { kind: "neuron", state: state[i], neuron: number[i], part: part[i], expert: expert[i] ?? undefined };
  const open = (i: number) => {
    const { part: its, ...of } = edit(i);
    const pos = store.target.peek();
    go({ ...of, ...(list === "heads" ? { query: pos, key: null } : { pos }), ...named(g, its) });
  };
  const name = (i: number) => writerName(g, edit(i));
  return (
    <Table
      store={store}
      caption={own.lists[list]}
      n={number.length}
      few={6}
      name={name}
      pick={(i) => () => open(i)}
      columns={[
        { head: own.part, left: true, cell: name },
        { head: words.score, cell: (i) => <Signed value={score[i]} of={largest([...score])} /> },
        ...(LIVE && !store.offline
          ? [
              {
                head: words.instead[0][1],
                cell: (i: number) => (
                  <button
                    type="button"
                    class="more"
                    title={own.off}
                    onClick={(event: Event) => {
                      event.stopPropagation();
                      store.write("edits", [...store.traits.edits.peek(), { selection: edit(i), to: 0 }]);
                    }}
                  >
                    {words.instead[0][1]}
                  </button>
                ),
              },
            ]
          : []),
      ]}
    />
  );
}
