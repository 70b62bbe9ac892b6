// The panel at the right: what is selected, Python's answer to it by kind, and what is under the pointer.

import { useSignal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Answer, AnswerOf } from "../core/answers.js";
import { EdgeKind, type Graph } from "../core/graph.js";
import { partName, percent, stateName, tokenText } from "../core/names.js";
import { partOf, type Selection, sameSubject } from "../core/select.js";
import type { Store } from "../model.js";
import { canonical } from "../offline.js";
import * as words from "../words.js";
import { Toggle } from "./choice.js";
import { Close } from "./close.js";
import { Compare } from "./compare.js";
import { Crumbs, selectionName } from "./crumbs.js";
import { explain } from "./explain.js";
import { type Facts, factsOf } from "./facts.js";
import { EdgePanel, HeadPanel } from "./kinds/attention.js";
import { MlpPanel, NeuronPanel } from "./kinds/mlp.js";
import { CarriedPanel, MixerPanel, ModelPanel, TokenPanel } from "./kinds/others.js";
import type { Shown } from "./kinds/parts.js";
import { StatePanel } from "./kinds/state.js";
import { signedText } from "./table.js";
import { Overview } from "./tokens.js";

type Kinds = { [K in Answer["kind"]]: ComponentType<Shown<AnswerOf<K>>> };

/** How an answer is shown, by the kind of the selection it answers. */
const PANELS: Kinds = {
  state: StatePanel,
  edge: EdgePanel,
  head: HeadPanel,
  mlp: MlpPanel,
  neuron: NeuronPanel,
  carried: CarriedPanel,
  mixer: MixerPanel,
  token: TokenPanel,
};

export function Panel({ store }: { store: Store }) {
  const selection = store.traits.selection.value;
  const g = store.graph.value;
  const keys = (event: KeyboardEvent) => {
    const panel = event.currentTarget as HTMLElement;
    if (!selection || (event.target as Element).matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "p") store.togglePin();
    if (event.key !== "Escape") return;
    store.back();
    const inside = store.traits.selection.peek() ? panel.querySelector("h3") : null;
    (inside ?? (panel.getRootNode() as ShadowRoot).querySelector<HTMLElement>(".flow"))?.focus();
  };
  return (
    <aside class="panel" aria-label={words.panelToggle} onKeyDown={keys}>
      {selection && !store.about.value && <Crumbs store={store} />}
      <div class="panel-body" tabIndex={-1}>
        {store.about.value && g ? (
          <ModelPanel store={store} g={g} />
        ) : selection ? (
          <Selected store={store} selection={selection} />
        ) : (
          <Overview store={store} />
        )}
      </div>
      <UnderPointer store={store} over={!!selection || store.about.value} />
    </aside>
  );
}

function Selected({ store, selection }: { store: Store; selection: Selection }) {
  const [g, routes, item] = [store.graph.value, store.routes.value, store.selected.value];
  const title = useRef<HTMLHeadingElement>(null);
  const last = useRef<Answer | null>(null);
  const why = useSignal(false);
  const side = useSignal(true);
  const subject = g && isHere(g, selection) ? titleOf(g, selection) : words.selectionGone;
  useLayoutEffect(() => {
    store.said.value = subject;
    const body = title.current?.closest(".panel-body");
    if (body && !(last.current && sameSubject(last.current.question, selection))) body.scrollTop = 0;
  }, [subject]);
  if (!g || !routes) return null;
  const fresh = store.answer.value;
  const answer = fresh ?? (last.current && sameSubject(last.current.question, selection) ? last.current : null);
  last.current = answer;
  const good = answer && !answer.error ? answer : null;
  const pin = store.traits.pins.value[0] as Selection | undefined;
  const other = pin && canonical(pin) !== canonical(selection) && store.pinned.value;
  const pair = good && other && other.kind === good.kind && !other.error ? other : null;
  const facts =
    item &&
    factsOf(g, routes, store.weight.value, store.peek.value, item, store.traits.renormalise.value && routes.encoding === "share");
  const go = (next: Selection) => {
    store.setSelection(next);
    if (!sameSubject(next, selection)) title.current?.focus();
  };
  const lines = why.value && good ? explain(good) : [];
  const Shown = good && (PANELS[good.kind] as ComponentType<Shown<Answer>>);
  return (
    <div class="selected">
      <div class="head">
        <h3 ref={title} tabIndex={-1}>
          {subject}
        </h3>
        {good && (
          <button
            type="button"
            class="icon why-button"
            aria-label={words.explainIt}
            aria-expanded={why.value}
            title={words.explainIt}
            onClick={() => {
              why.value = !why.value;
            }}
          >
            ?
          </button>
        )}
      </div>
      {lines.length > 0 && (
        <div class="why">
          {lines.map((line) => (
            <p key={line}>{line}</p>
          ))}
        </div>
      )}
      {pin && canonical(pin) !== canonical(selection) && (
        <p class="pinned note">
          <span>
            {words.pinnedIs(selectionName(g, pin))}
            {pair || !good || pin.kind === selection.kind ? "" : `. ${words.compareHint(words.kindOf[pin.kind])}`}
          </span>
          {pair && (
            <Toggle
              on={side.value}
              text={words.compare}
              act={() => {
                side.value = !side.value;
              }}
            />
          )}
          <Close act={() => store.write("pins", [])} title={words.unpin} />
        </p>
      )}
      {pair && good && side.value ? (
        <Compare store={store} g={g} pinned={pair} now={good} />
      ) : (
        <>
          {facts && !["head", "neuron"].includes(selection.kind) && <Rows rows={facts.rows} />}
          {good && <Rows rows={figuresOf(good)} />}
          {Shown && good ? (
            <Shown store={store} g={g} answer={good} go={go} />
          ) : answer?.error ? (
            <p class="how">
              {!store.offline && words.answerFailed} {answer.error}
            </p>
          ) : (
            !store.offline && <Waiting key={canonical(selection)} />
          )}
        </>
      )}
    </div>
  );
}

/** Whether this picture has what a selection names; Python refuses what it has not, but is asked first. */
function isHere(g: Graph, s: Selection): boolean {
  const size: Record<string, number> = { state: g.S, pos: g.T, query: g.T, key: g.T };
  const named = s as unknown as Record<string, number | null | undefined>;
  const needs = s.kind === "token" ? ["pos"] : ["state", s.kind === "edge" || s.kind === "head" ? "query" : "pos"];
  if (named.key != null) needs.push("key");
  const there = needs.every(
    (name) => Number.isInteger(named[name]) && (named[name] as number) >= 0 && (named[name] as number) < size[name],
  );
  return there && s.kind in PANELS && (["mlp", "neuron", "mixer"].includes(s.kind) ? partOf(g, s) in g.meta.parts : true);
}

/** The sentence above a panel. */
function titleOf(g: Graph, s: Selection): string {
  const part = () => partName(g, partOf(g, s));
  switch (s.kind) {
    case "token":
      return words.titles.token(tokenText(g, s.pos));
    case "state":
      return words.titles.state(stateName(g, s.state), tokenText(g, s.pos));
    case "carried":
      return words.titles.carried(tokenText(g, s.pos));
    case "edge":
      return words.titles.attention(tokenText(g, s.key), tokenText(g, s.query));
    case "head":
      return words.titlesOf.head(
        s.head,
        `L${g.meta.states[s.state].layer ?? ""}`,
        tokenText(g, s.query),
        s.key == null ? null : tokenText(g, s.key),
      );
    case "neuron":
      return words.titlesOf.neuron(s.neuron, s.expert ?? null, part(), tokenText(g, s.pos));
    default:
      return words.titles.mlp(part(), tokenText(g, s.pos));
  }
}

/** Python's own figures of a head, a neuron, a carried state or a mixer. */
function figuresOf(answer: Answer): Facts["rows"] {
  const rows: Facts["rows"] = [];
  const add = (label: string, value: number | null | undefined, text: (x: number) => string) => {
    if (value != null) rows.push({ label, value: text(value) });
  };
  if (answer.kind === "head" || answer.kind === "neuron") add(words.facts.share, answer.share, percent);
  if (answer.kind === "head") {
    add(words.attentionTo, answer.attention, percent);
    add(words.figureNames.effect, answer.effect, signedText);
    add(words.figureNames.effect_key, answer.effect_key, signedText);
  } else if (answer.kind === "neuron") {
    add(words.activation, answer.value, signedText);
    add(words.gate, answer.gate, signedText);
    add(words.up, answer.up, signedText);
  }
  if (answer.kind !== "head" && "effect" in answer) add(words.figureNames.effect, answer.effect, signedText);
  return rows;
}

function Rows({ rows }: { rows: Facts["rows"] }) {
  if (rows.length === 0) return null;
  return (
    <dl class="facts">
      {rows.map(({ label, value, mono, wide }) => (
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

/** A skeleton after 120 ms, words after a second; never a time-out. */
function Waiting() {
  const stage = useSignal(0);
  useLayoutEffect(() => {
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

/** What the picture has under the pointer: over the lower end of an answer, which is whole again when the pointer is elsewhere. */
function UnderPointer({ store, over }: { store: Store; over: boolean }) {
  const [g, routes, item] = [store.graph.value, store.routes.value, store.hover.value];
  const facts = g && routes && item ? factsOf(g, routes, store.weight.value, store.peek.value, item, false) : null;
  if (over && !facts) return null;
  return (
    <div class={`under-pointer ${over ? "over" : ""}`}>
      {facts ? (
        <>
          <h4>
            <span class={`dot ${facts.edge_kind < 0 ? "plain" : COLOURS[facts.edge_kind as keyof typeof COLOURS]}`} />
            {facts.kind}
            <span class="mono name">{facts.name}</span>
          </h4>
          <Rows rows={facts.rows} />
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
