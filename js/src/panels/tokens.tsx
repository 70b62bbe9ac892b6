// What the panel shows before anything is selected: how to read, the next token, which words mattered.
import { percent, roundPercent, tokenName, tokenText } from "../core/names.js";
import { sameItem } from "../core/select.js";
import type { Store } from "../model.js";
import { nextToken } from "../views/flow/draw.js";
import * as words from "../words.js";
import { Bar } from "./bars.js";

const SHOWN = 6;

export function Overview({ store }: { store: Store }) {
  const g = store.graph.value;
  const routes = store.routes.value;
  if (!g || !routes) return null;
  const { target, input_share, ended } = routes;
  const next = [0, 1, 2, 3, 4].map((rank) => nextToken(g, target, rank)).filter((x) => x !== null);
  const tokens = Array.from(input_share, (share, pos) => ({ share, pos }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, SHOWN);
  const most = Math.max(...tokens.map((t) => t.share), 1e-9);
  const lost = Object.values(ended).reduce((a, b) => a + b, 0);
  const causes = (Object.keys(ended) as (keyof typeof ended)[]).filter((cause) => ended[cause] > 0.0005);
  return (
    <div class="overview">
      <h3>{words.howTitle}</h3>
      {words.how.map((text) => (
        <p class="how" key={text}>
          {text}
        </p>
      ))}
      <section>
        <h3>{words.wordsTitle}</h3>
        <ul class="bars">
          {tokens.map(({ share, pos }) => {
            const item = { kind: "token" as const, pos };
            return (
              <Bar
                key={pos}
                label={tokenName(g, pos)}
                mono
                value={share}
                of={most}
                text={percent(share)}
                colour="attention"
                lit={sameItem(store.hover.value, item)}
                onHover={(over) => {
                  store.hover.value = over ? item : null;
                }}
                onPick={() => store.setTarget(pos)}
              />
            );
          })}
        </ul>
        {lost > 0.0005 && (
          <p class="note">
            {roundPercent(lost)} {words.endedTitle}:{" "}
            {causes.map((cause) => `${percent(ended[cause])} ${words.endedBy[cause]}`).join(", ")}
          </p>
        )}
      </section>
      {next.length > 0 && (
        <section>
          <h3>{words.nextTitle(tokenText(g, target))}</h3>
          <ul class="bars">
            {next.map(({ text, p }) => (
              <Bar key={text} label={text} mono value={p} of={next[0].p} text={percent(p)} colour="plain" />
            ))}
          </ul>
        </section>
      )}
    </div>
  );
}
