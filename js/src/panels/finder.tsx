// The search of the toolbar: type a token or a head, walk the list, Enter opens it.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon, IconButton } from "../controls/icon.js";
import { usePopup } from "../controls/popup.js";
import { hovering } from "../controls/table.js";
import { type Found, find, namesHead } from "../core/find.js";
import { layerCount } from "../core/names.js";
import { percent } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import type { FlowView } from "../views/flow/flow.js";
import * as words from "../words.js";

export function Finder({ store, view }: { store: Store; view: () => FlowView | null }) {
  const { finding } = store;
  const box = useRef<HTMLSpanElement>(null);
  usePopup(finding, box, "input");
  return (
    <span class="menu" ref={box}>
      <IconButton
        name={words.find}
        title={words.findTitle}
        aria-haspopup="dialog"
        aria-expanded={finding.value}
        onClick={() => {
          finding.value = !finding.value;
        }}
      >
        <Icon size={14} d="M6 1.8a4.2 4.2 0 1 0 .01 0M9.2 9.2l3.6 3.6" />
      </IconButton>
      {finding.value && <Search store={store} view={view} />}
    </span>
  );
}

function Search({ store, view }: { store: Store; view: () => FlowView | null }) {
  const typed = useSignal("");
  const at = useSignal(0);
  const list = useRef<HTMLDivElement>(null);
  const [g, routes] = [store.graph.value, store.routes.value];
  const listed = g && routes ? find(g, routes, store.threshold.value, typed.value) : [];
  const word = typed.value.trim();
  const found = word && LIVE && !store.offline && !namesHead(word) ? [...listed, writersOf(word)] : listed;
  const none = g ? words.foundNothing(layerCount(g), Math.max(0, ...g.meta.parts.map((p) => p.heads ?? 0))) : "";
  const here = found[Math.min(at.value, found.length - 1)] as Found | undefined;
  useLayoutEffect(() => {
    store.said.value = typed.value && (here ? words.found(found.length, here.name) : none);
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: "nearest" });
  }, [typed.value, at.value, here?.name]);
  const open = (one: Found | undefined) => {
    if (!one) return;
    store.finding.value = false;
    store.hover.value = null;
    store.about.value = false;
    if (!store.traits.view.peek().panel) store.setView({ panel: true });
    if (one.measure) store.measure.value = one.measure;
    store.setSelection(one.selection);
    view()?.show(one.item);
  };
  const keys = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") open(here);
    else if (event.key === "Escape") store.finding.value = false;
    else if (step && found.length) {
      at.value = (at.value + step + found.length) % found.length;
      store.hover.value = found[at.peek()].item;
    } else return;
    event.preventDefault();
  };
  return (
    <div class="pop finder" role="dialog" aria-label={words.findTitle} onKeyDown={keys}>
      <input
        type="text"
        class="mono"
        role="combobox"
        aria-label={words.findTitle}
        aria-expanded={found.length > 0}
        aria-controls="found"
        aria-activedescendant={here && `found-${found.indexOf(here)}`}
        placeholder={words.findHint}
        spellcheck={false}
        autocomplete="off"
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          at.value = 0;
        }}
      />
      <div id="found" class="found" role="listbox" aria-label={words.findTitle} ref={list}>
        {found.map((one, i) => (
          <button
            type="button"
            key={one.name}
            id={`found-${i}`}
            role="option"
            tabIndex={-1}
            aria-selected={one === here}
            onClick={() => open(one)}
            {...(one.item ? hovering(store, one.item) : {})}
          >
            <span class="mono">{one.name}</span>
            <span class="muted number">
              {one.input_share !== null && `${words.facts.inputShare} ${percent(one.input_share)}`}
              {one.n_lines !== null && words.linesOf(one.n_lines)}
            </span>
          </button>
        ))}
      </div>
      {!listed.length && <p class="note">{none}</p>}
    </div>
  );
}

/** The question which neurons and heads anywhere write a word. */
function writersOf(word: string): Found {
  const asked = { kind: "word", word: word.replace(/^·/, "") };
  return { name: words.findWriters(word), selection: asked, item: null, input_share: null, n_lines: null };
}
