// What the edits of the picture did: to the prediction, and to what each head adds to it.
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, Table } from "../controls/table.js";
import { MovedTokens, verdictOf } from "../controls/verdict.js";
import type { EditsAnswer } from "../core/answers.js";
import { partName } from "../core/names.js";
import { largest } from "../core/numbers.js";
import { named, type Selection } from "../core/select.js";
import * as words from "../words.js";

interface EditsQuestion extends Selection {
  kind: "edits";
}

const own = {
  title: "What the edits did",
  heads: "Heads whose direct effect changed most",
  head: "head",
  before: "before",
};

export default kind<EditsQuestion, EditsAnswer>({
  kind: "edits",
  noun: "edit",
  needs: [],
  title: () => own.title,
  Panel: EditsPanel,
  explain: () => [words.exact],
});

function EditsPanel({ store, g, answer, go }: Shown<EditsQuestion, EditsAnswer>) {
  const { heads } = answer;
  const name = (i: number) => `${partName(g, heads?.part[i] ?? 0).replace(/ .*/, "")} H${heads?.head[i]}`;
  const most = largest([...(heads?.before ?? []), ...(heads?.effect ?? [])]);
  return (
    <div class="cut">
      <p class="how verdict">{verdictOf(answer)}</p>
      <MovedTokens store={store} moved={answer.moved} />
      {heads && heads.head.length > 0 && (
        <Section title={own.heads}>
          <Table
            store={store}
            caption={own.heads}
            n={heads.head.length}
            name={name}
            pick={(i) => () =>
              go({
                kind: "head",
                state: heads.state[i],
                head: heads.head[i],
                query: store.target.peek(),
                key: null,
                ...named(g, heads.part[i]),
              })
            }
            columns={[
              { head: own.head, left: true, cell: name },
              { head: own.before, cell: (i) => <Signed value={heads.before[i]} of={most} /> },
              { head: words.after, cell: (i) => <Signed value={heads.effect[i]} of={most} /> },
            ]}
          />
        </Section>
      )}
    </div>
  );
}
