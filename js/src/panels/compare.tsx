// The pin and the selection side by side, with a difference column.
import type { Kind, Sides } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Signed, Table } from "../controls/table.js";
import type { Answer } from "../core/answer.js";
import { type Joined, join } from "../core/difference.js";
import { visible } from "../core/names.js";
import { figure, largest, percent, signedText } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

export function Compare({ kind, ...sides }: Sides<Answer> & { kind: Kind }) {
  const { store, g, pinned, now } = sides;
  const theirs = kind.compare?.(pinned, g) ?? [];
  return (
    <div class="compare">
      {kind.compare?.(now, g).map(({ title, unit, figures }, i) => {
        const other = theirs.find((c) => c.title === title && c.unit === unit);
        if (!other) return null;
        return (
          <Section key={title + i} title={title}>
            <Rows store={store} caption={title} rows={join(other.figures, figures)} unit={unit} />
          </Section>
        );
      })}
      {kind.Compared && <kind.Compared {...sides} />}
    </div>
  );
}

function Rows({ store, caption, rows, unit }: { store: Store; caption: string; rows: Joined[]; unit: string }) {
  const text = (x: number | null) =>
    x === null ? "–" : unit === "share" ? percent(x) : unit === "signed" ? signedText(x) : figure(x);
  const most = largest(rows.map((row) => row.difference));
  const scale = unit === "share" ? 100 : 1; // differences of shares are percentage points
  return (
    <Table
      store={store}
      caption={caption}
      mono
      n={rows.length}
      few={8}
      columns={[
        {
          head: words.modelFacts.name,
          left: true,
          cell: (i) => <span title={visible(rows[i].label)}>{visible(rows[i].label)}</span>,
        },
        { head: words.pinnedSide, cell: (i) => text(rows[i].pinned) },
        { head: words.thisSide, cell: (i) => text(rows[i].now) },
        {
          head: unit === "share" ? "Δ pp" : "Δ",
          title: words.difference,
          cell: (i) => {
            const d = rows[i].difference;
            return <Signed value={d === null ? null : d * scale} of={most * scale} />;
          },
        },
      ]}
    />
  );
}
