// Why a head looked there: what asked at the query and what answered at the key, each with its own line.
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, Table } from "../controls/table.js";
import type { Askers, ReasonsAnswer } from "../core/answers.js";
import { figureRows } from "../core/facts.js";
import { layerName, tokenText } from "../core/names.js";
import { largest, percent, signedText } from "../core/numbers.js";
import { attentionEdge, type Selection } from "../core/select.js";
import * as words from "../words.js";

interface ReasonsQuestion extends Selection {
  kind: "reasons";
  state: number;
  head: number;
  query: number;
  key: number;
  part?: number;
}

const own = {
  title: (head: string, query: string, key: string) => `Why ${head} looks from ${query} at ${key}`,
  score: "score",
  above: "above average",
  position: "by position and mask",
  answered: (key: string) => `What ${key} answers with`,
  asked: (query: string) => `What ${query} asks with`,
  pairs: "Who asked, who answered",
  part: "part",
  asks: "asks",
  answers: "answers",
  adds: "adds",
  how: "A score is query · key, and both are sums over the parts of their states, norms frozen: so the score is a table, parts that ask by parts that answer. Held against the row's average key, since a softmax ignores what a whole row shares.",
  sum: (above: string, position: string) => `Each list adds up to ${above}, with ${position} by position and mask.`,
  capped: "The model bends scores before the softmax (a soft cap); these are before that.",
};

export default kind<ReasonsQuestion, ReasonsAnswer>({
  kind: "reasons",
  noun: "reason",
  needs: ["state", "query"],
  parts: ["attention"],
  item: attentionEdge,
  title: (g, q) => own.title(`${layerName(g, q.state)} H${q.head}`, tokenText(g, q.query), tokenText(g, q.key)),
  name: (g, { state, head, query, key }) =>
    `${layerName(g, state)} H${head} ${tokenText(g, query)} → ${tokenText(g, key)} ${words.whyMark}`,
  figures: ({ attention, score, average, position }) =>
    figureRows(
      [words.attention, attention, percent],
      [own.score, score, signedText],
      [own.above, score - average, signedText],
      [own.position, position, signedText],
    ),
  Panel: ReasonsPanel,
  explain: ({ score, average, position, capped }) => [
    own.how,
    own.sum(signedText(score - average), signedText(position)),
    ...(capped ? [own.capped] : []),
  ],
});

function ReasonsPanel({ store, g, answer, go }: Shown<ReasonsQuestion, ReasonsAnswer>) {
  const { asked, answered, pairs, query, key } = answer;
  const list = (title: string, n: number, names: string[], more: string[] | null, { value, opens }: Omit<Askers, "name">) => (
    <Section title={title}>
      <Table
        store={store}
        caption={title}
        n={n}
        few={6}
        name={(i) => names[i]}
        pick={(i) => {
          const next = opens[i];
          return next && (() => go(next));
        }}
        columns={[
          { head: more ? own.answers : own.part, left: true, cell: (i) => names[i] },
          ...(more ? [{ head: own.asks, left: true, cell: (i: number) => more[i] }] : []),
          { head: own.adds, cell: (i) => <Signed value={value[i]} of={largest(value)} /> },
        ]}
      />
    </Section>
  );
  return (
    <>
      {list(own.answered(tokenText(g, key)), answered.name.length, answered.name, null, answered)}
      {list(own.asked(tokenText(g, query)), asked.name.length, asked.name, null, asked)}
      {list(own.pairs, pairs.asked.length, pairs.answered, pairs.asked, pairs)}
    </>
  );
}
