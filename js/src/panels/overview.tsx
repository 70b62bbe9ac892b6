// What the panel shows before anything is selected: how to read, the next token, which words mattered.

import { Amount, Table } from "../controls/table.js";
import { nextToken, tokenName, tokenText } from "../core/names.js";
import { percent, roundPercent } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { RoutesTable } from "./routes.js";

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
        <Table
          store={store}
          caption={words.wordsTitle}
          quiet
          mono
          n={tokens.length}
          name={(i) => tokenName(g, tokens[i].pos)}
          item={(i) => ({ kind: "token", pos: tokens[i].pos })}
          pick={(i) => () => store.setTarget(tokens[i].pos)}
          columns={[
            { head: words.token, left: true, cell: () => "" },
            {
              head: words.facts.inputShare,
              cell: (i) => <Amount value={tokens[i].share} of={most} text={percent(tokens[i].share)} colour="attention" />,
            },
          ]}
        />
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
          <Table
            store={store}
            caption={words.nextTokens}
            quiet
            mono
            n={next.length}
            columns={[
              { head: words.token, left: true, cell: (i) => next[i].text },
              { head: words.probability, cell: (i) => <Amount value={next[i].p} of={next[0].p} text={percent(next[i].p)} /> },
            ]}
          />
        </section>
      )}
      <RoutesTable store={store} g={g} />
    </div>
  );
}
