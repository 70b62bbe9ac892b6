// What is selected: Python's answer as its kind shows it, or beside the pinned one.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Toggle } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import { Foil } from "../controls/foil.js";
import { Why } from "../controls/icon.js";
import type { Kind } from "../controls/kind.js";
import { PythonLine } from "../controls/python.js";
import { Rows } from "../controls/rows.js";
import { Waiting } from "../controls/waiting.js";
import type { Answer } from "../core/answer.js";
import { factsOf } from "../core/facts.js";
import type { Graph } from "../core/graph.js";
import { canonical, equal } from "../core/json.js";
import { tokenText } from "../core/names.js";
import { isHere, type Selection, sameSubject } from "../core/select.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";
import { Compare } from "./compare.js";
import { selectionName } from "./crumbs.js";
import { KINDS } from "./kinds.js";
import { pythonOfAnswer } from "./python.js";
import { WhatIf } from "./whatif.js";

export function Selected({ store, selection }: { store: Store; selection: Selection }) {
  const g = store.graph.value;
  const kind = g && isHere(KINDS, g, selection) ? KINDS.get(selection.kind) : undefined;
  const subject = g && kind ? kind.title(g, selection) : words.selectionGone;
  const title = useRef<HTMLHeadingElement>(null);
  const last = useRef<Answer | null>(null);
  const why = useSignal(false);
  const beside = useSignal(true);
  const stays = (answer: Answer | null) => answer && sameSubject(KINDS, answer.question, selection);
  useLayoutEffect(() => {
    store.said.value = subject;
    const body = title.current?.closest(".panel-body");
    if (body && !stays(last.current)) body.scrollTop = 0;
  }, [subject]);
  if (!g || !store.routes.value) return null;
  const answer = store.answer.value ?? (stays(last.current) ? last.current : null);
  last.current = answer;
  const good = answer && !answer.error ? answer : null;
  const pinned = store.traits.pins.value[0] as Selection | undefined;
  const pin = equal(pinned, selection) ? undefined : pinned;
  const other = pin && store.pinned.value;
  const pair = good && other && other.kind === good.kind && !other.error ? other : null;
  const go = (next: Selection) => {
    store.setSelection(next);
    if (!sameSubject(KINDS, next, selection)) title.current?.focus();
  };
  const lines = (why.value && good && kind?.explain?.(good)) || [];
  return (
    <div class="selected">
      <div class="head">
        <h3 ref={title} tabIndex={-1}>
          {subject}
        </h3>
        {good && <PythonLine line={pythonOfAnswer(store, selection)} />}
        {good && <Why name={words.explainIt} open={why.value} act={() => (why.value = !why.value)} />}
      </div>
      {lines.length > 0 && (
        <div class="why">
          {lines.map((line) => (
            <p key={line}>{line}</p>
          ))}
        </div>
      )}
      {pin && (
        <p class="pinned note">
          <span>
            {words.pinnedIs(selectionName(g, pin))}
            {pair || !good || pin.kind === selection.kind ? "" : `. ${words.compareHint(KINDS.get(pin.kind)?.noun ?? pin.kind)}`}
          </span>
          {pair && (
            <Toggle
              on={beside.value}
              text={words.compare}
              act={() => {
                beside.value = !beside.value;
              }}
            />
          )}
          <Close act={() => store.write("pins", [])} title={words.unpin} />
        </p>
      )}
      {kind && good && pair && beside.value ? (
        <Compare store={store} g={g} kind={kind} pinned={pair} now={good} />
      ) : (
        <>
          {kind?.asked && <Facts store={store} g={g} />}
          {kind && good && <Whole store={store} g={g} kind={kind} question={selection} answer={good} go={go} />}
          {answer?.error && (
            <p class="how">
              {LIVE && !store.offline && words.answerFailed} {answer.error} {store.offline && <SavedOnes store={store} g={g} />}
            </p>
          )}
          {LIVE && !answer && !store.offline && <Waiting key={canonical(selection)} />}
        </>
      )}
    </div>
  );
}

/** What can be looked into without a kernel, and the way there. */
function SavedOnes({ store, g }: { store: Store; g: Graph }) {
  const token = tokenText(g, Math.min(store.home, g.T - 1));
  return (
    <>
      {words.savedAre(token)}{" "}
      {store.target.value !== store.home && (
        <button type="button" class="more" onClick={() => store.setTarget(store.home)}>
          {words.goThere(token)}
        </button>
      )}
    </>
  );
}

/** What the picture itself knows of the selection. */
function Facts({ store, g }: { store: Store; g: Graph }) {
  const [item, routes] = [store.selected.value, store.routes.value];
  return item && routes && <Rows rows={factsOf(g, routes, store.peek.value, item, store.own.value).rows} />;
}

interface WholeProps {
  store: Store;
  g: Graph;
  kind: Kind;
  question: Selection;
  answer: Answer;
  go: (next: Selection) => void;
}

function Whole({ kind, ...shown }: WholeProps) {
  return (
    <>
      <Rows rows={kind.figures?.(shown.answer) ?? []} />
      {LIVE && !shown.store.offline && <WhatIf {...shown} />}
      <Foil {...shown} />
      <kind.Panel {...shown} />
    </>
  );
}
