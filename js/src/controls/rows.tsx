// Facts as labels and values.
import type { Fact } from "../core/facts.js";

export function Rows({ rows }: { rows: Fact[] }) {
  if (rows.length === 0) return null;
  return (
    <dl class="facts">
      {rows.map(({ label, value, mono }) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd class={mono ? "mono" : ""} title={value}>
            {value}
          </dd>
        </div>
      ))}
    </dl>
  );
}
