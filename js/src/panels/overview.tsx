// What the panel shows before anything is selected: the answer in words, what may come next, which words mattered.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Tokens } from "../controls/foil.js";
import { Why } from "../controls/icon.js";
import { Amount, Table } from "../controls/table.js";
import type { Graph } from "../core/graph.js";
import { nextToken, tokenName, tokenText } from "../core/names.js";
import { fullBar, percent, roundPercent } from "../core/numbers.js";
import type { Routes } from "../core/routes.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { RoutesTable } from "./routes.js";
import { Sentence } from "./sentence.js";

const SHOWN = 6;

export function Overview({ store }: { store: Store }) {
  const g = store.graph.value;
  const routes = store.routes.value;
  if (!g || !routes) return null;
  return (
    <div class="overview">
      <Answer store={store} />
      <WhyThis store={store} />
      <Next store={store} />
      {store.settled.value && <Tables store={store} g={g} routes={routes} />}
    </div>
  );
}

/** The words that mattered and the strongest lines. */
function Tables({ store, g, routes }: { store: Store; g: Graph; routes: Routes }) {
  const { input_share, ended } = routes;
  const tokens = Array.from(input_share, (share, pos) => ({ share, pos }))
    .filter(({ share }) => share > 0)
    .sort((a, b) => b.share - a.share)
    .slice(0, SHOWN);
  const most = fullBar(input_share);
  const lost = Object.values(ended).reduce((a, b) => a + b, 0);
  const causes = (Object.keys(ended) as (keyof typeof ended)[]).filter((cause) => ended[cause] > 0.0005);
  return (
    <>
      <section>
        <h3>{words.wordsTitle}</h3>
        <Table
          store={store}
          caption={words.wordsTitle}
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
      <RoutesTable store={store} g={g} />
    </>
  );
}

let was_read = false; // on this page: how to read the picture is told once

/** The answer; how to read the picture is open at the first opening, behind its button from then on. */
function Answer({ store }: { store: Store }) {
  const open = useSignal(false);
  useEffect(() => {
    open.value = !was_read && !remembered(); // after the first frame: what a page keeps may have to be fetched
    was_read = true;
  }, []);
  return (
    <div class="answer">
      <Why name={words.howTitle} open={open.value} act={() => (open.value = !open.value)} />
      <Sentence store={store} />
      {open.value && (
        <div class="why">
          <h3>{words.howTitle}</h3>
          {words.how.map((text) => (
            <p key={text}>{text}</p>
          ))}
        </div>
      )}
    </div>
  );
}

const READ = "lmtt_widget: how to read was read";

/** Whether it was told in this browser before; from now on it was. */
function remembered(): boolean {
  try {
    const told = localStorage.getItem(READ) !== null;
    localStorage.setItem(READ, "1");
    return told;
  } catch {
    return false; // a page that may keep nothing
  }
}

/** The answer held against another token: what is chosen opens the heads for and against it. */
function WhyThis({ store }: { store: Store }) {
  const g = store.graph.value;
  const token = g && nextToken(g, store.target.value, 0);
  if (!g || !token || !g.meta.parts.some(({ kind }) => kind === "attention")) return null;
  const open = () => {
    store.measure.value = "effect";
    store.setSelection({ kind: "heads" });
  };
  const { token: chosen, foil } = store.traits;
  const text = (one: unknown) => (typeof one === "string" ? one.replace(/ /g, "·") : "");
  return (
    <div class="why-row">
      <Tokens
        store={store}
        before={words.whyThis}
        token={text(chosen.value) || token.text}
        foil={text(foil.value)}
        taken={open}
      />
      <button type="button" onClick={open}>
        {words.byHead}
      </button>
    </div>
  );
}

/** What may come next, each a way to go on. */
function Next({ store }: { store: Store }) {
  const [g, prompt] = [store.graph.value, store.traits.prompt.value];
  if (!g) return null;
  const target = store.target.value;
  const next = [0, 1, 2, 3, 4].map((rank) => nextToken(g, target, rank)).filter((x) => x !== null);
  if (!next.length) return null;
  const grows = typeof prompt === "string" && target === g.T - 1 && !store.offline;
  return (
    <section>
      <h3>{words.nextTitle(tokenText(g, target))}</h3>
      <ul class="chips" aria-label={words.nextTokens}>
        {next.map(({ text, p }) => (
          <li key={text}>
            {LIVE && grows ? (
              <button type="button" title={words.appendTitle(text)} onClick={() => store.write("prompt", prompt + typed(text))}>
                <span class="mono">{text}</span> {percent(p)}
              </button>
            ) : (
              <span class="chip">
                <span class="mono">{text}</span> {percent(p)}
              </span>
            )}
          </li>
        ))}
      </ul>
    </section>
  );
}

/** A token's characters, from how it is shown. */
const typed = (text: string) =>
  text
    .replace(/·/g, " ")
    .replace(/⏎/g, "\n")
    .replace(/⇥/g, "\t")
    .replace(/[\u2068\u2069]/g, "");
