// An attention line: its heads and their patterns.
import { effectTitle } from "../controls/foil.js";
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, shareColumn, Table } from "../controls/table.js";
import { walk } from "../controls/walk.js";
import type { EdgeAnswer } from "../core/answers.js";
import { numbers, table } from "../core/difference.js";
import { effectLine, shareLine, sum } from "../core/formula.js";
import { EdgeKind, placeOf } from "../core/graph.js";
import { layerName, tokenName, tokenText } from "../core/names.js";
import { largest, percent } from "../core/numbers.js";
import { attentionEdge, named, type Selection } from "../core/select.js";
import { paletteOf } from "../paint/colour.js";
import { heatTable } from "../paint/ramps.js";
import { useImage } from "../views/heat/heat.js";
import * as words from "../words.js";

interface EdgeQuestion extends Selection {
  kind: "edge";
  state: number;
  query: number;
  key: number;
  part?: number;
}

const own = {
  title: (key: string, query: string) => `What ${query} took from ${key}`,
  heads: "Heads on this line",
  head: "head",
  attentionTitle: "The weight this query gives this key, after the softmax",
  patterns: "Attention patterns of all heads",
  headSum: (shares: string, all: string) => `A line adds up its heads: ${shares} = ${all}.`,
  compareHeads: "Shares of the heads",
};

export default kind<EdgeQuestion, EdgeAnswer>({
  kind: "edge",
  noun: "attention line",
  needs: ["state", "query"],
  parts: ["attention"],
  item: attentionEdge,
  asked(g, item) {
    if (item.kind !== "edge" || g.kind[item.edge] !== EdgeKind.attention) return null;
    const to = placeOf(g, g.entered[item.edge]);
    const key = placeOf(g, g.source[item.edge]).pos;
    return { kind: "edge", state: to.state, query: to.pos, key, ...named(g, g.part[item.edge]) };
  },
  title: (g, { query, key }) => own.title(tokenText(g, key), tokenText(g, query)),
  name: (g, { state, query, key }) => `${layerName(g, state)} ${tokenText(g, key)} → ${tokenText(g, query)}`,
  Panel: EdgePanel,
  explain: (answer) => [
    ...shareLine(percent(answer.share)),
    own.headSum(sum(answer.heads.share), percent(answer.share)),
    ...effectLine(answer, answer.heads.effect[0]),
  ],
  compare({ share, heads }) {
    const labels = heads.head.map((head) => `H${head}`);
    return [
      ...numbers(words.compareFigures, "share", { [words.share]: share }),
      ...table(own.compareHeads, "share", labels, heads.share),
      ...table(words.compareEffects, "signed", labels, heads.effect),
    ];
  },
});

function EdgePanel({ store, g, question, answer, go }: Shown<EdgeQuestion, EdgeAnswer>) {
  const { heads, state, query, key, maps } = answer;
  const open = (head: number) => go({ kind: "head", state, head, query, key, part: question.part });
  const most = largest(heads.effect);
  const n_heads = heads.head.length;
  const side = Math.round(Math.sqrt(maps.thumbs.length / n_heads));
  const table = heatTable(paletteOf(store.dark.value));
  return (
    <>
      <Section title={own.heads}>
        <Table
          store={store}
          caption={`${own.heads} ${words.cell(tokenName(g, query), tokenName(g, key))}`}
          n={n_heads}
          few={8}
          name={(i) => `H${heads.head[i]}`}
          pick={(i) => () => open(heads.head[i])}
          columns={[
            { head: own.head, left: true, cell: (i) => `H${heads.head[i]}` },
            shareColumn(heads.share, "attention"),
            { head: words.attentionTo, title: own.attentionTitle, cell: (i) => percent(heads.attention[i]) },
            {
              head: words.effect,
              title: effectTitle(answer),
              cell: (i) => <Signed value={heads.effect[i]} of={most} />,
            },
          ]}
        />
      </Section>
      <Section title={own.patterns}>
        <ul class="thumbs" onKeyDown={walk}>
          {Array.from({ length: n_heads }, (_, head) => (
            <li key={head}>
              <Thumb
                head={head}
                bytes={maps.thumbs.subarray(head * side * side, (head + 1) * side * side)}
                side={side}
                table={table}
                open={open}
              />
            </li>
          ))}
        </ul>
      </Section>
    </>
  );
}

function Thumb({
  head,
  bytes,
  side,
  table,
  open,
}: {
  head: number;
  bytes: ArrayLike<number>;
  side: number;
  table: Uint32Array;
  open: (head: number) => void;
}) {
  const canvas = useImage(bytes, side, table);
  return (
    <button type="button" class="thumb" title={words.headName(head)} onClick={() => open(head)}>
      <canvas ref={canvas} class={side > 46 ? "fine" : ""} />
      <span>H{head}</span>
    </button>
  );
}
