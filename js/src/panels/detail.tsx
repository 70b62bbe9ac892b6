// The panel at the right: what is selected, Python's answer to it by kind, and what is under the pointer.
import type { ComponentType } from "preact";
import { useEffect, useSignal } from "../component.js";
import { EdgeKind } from "../core/graph.js";
import { percent } from "../core/names.js";
import { type Selection, sameItem, selectionOf } from "../core/select.js";
import type { Detail as Answer, Store } from "../model.js";
import * as words from "../words.js";
import { Bar } from "./bars.js";
import { Crumbs } from "./crumbs.js";
import { type Facts, factsOf } from "./facts.js";
import { Overview } from "./tokens.js";

/** How an answer is shown, by the kind of the selection it answers. A kind without an entry shows the facts alone. */
export const answers: Partial<Record<Selection["kind"], ComponentType<{ store: Store; answer: Answer }>>> = {};

export function Panel({ store }: { store: Store }) {
  const selection = store.traits.selection.value;
  return (
    <aside class="panel" aria-label={words.panelToggle}>
      {selection && <Crumbs store={store} />}
      <div class="panel-body">{selection ? <Selected store={store} selection={selection} /> : <Overview store={store} />}</div>
      <UnderPointer store={store} />
    </aside>
  );
}

function Selected({ store, selection }: { store: Store; selection: Selection }) {
  const [g, routes, item] = [store.graph.value, store.routes.value, store.selected.value];
  if (!g || !routes) return null;
  if (!item) return <p class="how">{words.selectionGone}</p>;
  const facts = factsOf(
    g,
    routes,
    store.weight.value,
    store.peek.value,
    item,
    store.traits.renormalise.value && routes.encoding === "share",
  );
  const Shown = answers[selection.kind];
  const answer = store.detail.value;
  return (
    <div class="selected">
      <h3>{facts.title}</h3>
      <Rows facts={facts} />
      {facts.incoming.length > 0 && <MadeFrom store={store} facts={facts} />}
      {Shown && (answer ? <Shown store={store} answer={answer} /> : store.answered.value && !store.offline && <Waiting />)}
    </div>
  );
}

function Rows({ facts }: { facts: Facts }) {
  return (
    <dl class="facts">
      {facts.rows.map(({ label, value, mono, wide }) => (
        <div key={label} class={wide ? "wide" : ""}>
          <dt>{label}</dt>
          <dd class={mono ? "mono" : ""} title={value}>
            {value}
          </dd>
        </div>
      ))}
    </dl>
  );
}

const COLOURS = { [EdgeKind.carried]: "residual", [EdgeKind.attention]: "attention", [EdgeKind.part]: "mlp" } as const;

function MadeFrom({ store, facts }: { store: Store; facts: Facts }) {
  const g = store.graph.value;
  const most = Math.max(...facts.incoming.map((x) => x.share), 1e-9);
  return (
    <section>
      <h3>{words.facts.incoming}</h3>
      <ul class="bars">
        {facts.incoming.map(({ label, share, kind, token, item }) => (
          <Bar
            key={label + kind}
            label={label}
            mono={token}
            value={share}
            of={most}
            text={percent(share)}
            colour={COLOURS[kind as keyof typeof COLOURS]}
            lit={item !== null && sameItem(store.hover.value, item)}
            onHover={
              item
                ? (over) => {
                    store.hover.value = over ? item : null;
                  }
                : undefined
            }
            onPick={item && g ? () => store.setSelection(selectionOf(g, item)) : undefined}
          />
        ))}
      </ul>
    </section>
  );
}

/** A skeleton after 120 ms, words after a second; never a time-out. */
function Waiting() {
  const stage = useSignal(0);
  useEffect(() => {
    const timers = [120, 1000].map((ms, i) =>
      setTimeout(() => {
        stage.value = i + 1;
      }, ms),
    );
    return () => timers.forEach(clearTimeout);
  }, []);
  return (
    <div class="waiting" aria-busy="true">
      {stage.value > 0 && [0, 1, 2, 3].map((i) => <div class="bone" key={i} />)}
      {stage.value > 1 && <p class="note">{words.waiting}</p>}
    </div>
  );
}

function UnderPointer({ store }: { store: Store }) {
  const [g, routes, item] = [store.graph.value, store.routes.value, store.hover.value];
  const facts = g && routes && item ? factsOf(g, routes, store.weight.value, store.peek.value, item, false) : null;
  return (
    <div class="under-pointer">
      {facts ? (
        <>
          <h4>
            <span class={`dot ${facts.edge_kind < 0 ? "plain" : COLOURS[facts.edge_kind as keyof typeof COLOURS]}`} />
            {facts.kind}
            <span class="mono name">{facts.name}</span>
          </h4>
          <Rows facts={facts} />
        </>
      ) : (
        <>
          <p class="note">{words.hoverEmpty}</p>
          <p class="note">{words.hoverKeys}</p>
        </>
      )}
    </div>
  );
}
