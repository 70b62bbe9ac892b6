// The tokens a position is read as, the likeliest first.
import type { Tokens } from "../core/answers.js";
import { visible } from "../core/names.js";
import { figure, percent } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { Amount, Table } from "./table.js";

export function Lens({ store, lens, caption }: { store: Store; lens: Tokens; caption: string }) {
  const p = lens.p ?? [];
  const change = lens.change;
  return (
    <Table
      store={store}
      caption={caption}
      n={lens.id.length}
      few={10}
      columns={[
        { head: words.rank, cell: (i) => <span class="muted">{i + 1}</span> },
        {
          head: words.token,
          left: true,
          cell: (i) => (
            <span class="mono" title={`id ${lens.id[i]}`}>
              {visible(lens.text[i])}
            </span>
          ),
        },
        { head: words.probability, cell: (i) => <Amount value={p[i]} of={p[0]} text={percent(p[i])} /> },
        { head: words.score, title: words.scoreTitle, cell: (i) => figure(lens.score[i]) },
        ...(change ? [{ head: words.change, title: words.changeTitle, cell: (i: number) => <Change n={change[i]} /> }] : []),
      ]}
    />
  );
}

function Change({ n }: { n: number | null }) {
  if (!n) return <span class="muted">{n === 0 ? "·" : "–"}</span>;
  return (
    <span class={n > 0 ? "rose" : "fell"} title={words.moved(n)}>
      {n > 0 ? "▲" : "▼"}
      {Math.abs(n)}
    </span>
  );
}
