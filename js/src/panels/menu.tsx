// The menu "⋯": files, the Python of this view, theme, panel, full screen.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { IconButton } from "../controls/icon.js";
import { usePopup } from "../controls/popup.js";
import { walk } from "../controls/walk.js";
import type { Store } from "../store/store.js";
import type { FlowView } from "../views/flow/flow.js";
import type { Scene } from "../views/flow/scene.js";
import * as words from "../words.js";
import { FigureDialog } from "./figure.js";
import { save, saveJson } from "./files.js";
import { python } from "./python.js";

export function Menu({ store, view }: { store: Store; view: () => FlowView | null }) {
  const open = useSignal(false);
  const by_hand = useSignal<string | null>(null);
  const copied = useSignal(false);
  const figure = useSignal<Scene | null>(null);
  const box = useRef<HTMLSpanElement>(null);
  usePopup(open, box, "[role^=menuitem]");
  const done = (what: () => void) => () => {
    what();
    open.value = false;
  };
  const scene = () => view()?.scene() ?? null;
  const copy = async () => {
    const text = python(store);
    try {
      await navigator.clipboard.writeText(text);
      copied.value = true;
      setTimeout(() => {
        copied.value = false;
      }, 1200);
    } catch {
      by_hand.value = text;
    }
  };
  const leave = (event: KeyboardEvent) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    open.value = false;
  };
  const has_graph = store.graph.value !== null;
  const { theme, panel, text } = store.traits.view.value;
  return (
    <span class="menu" role="none" ref={box} onKeyDown={leave}>
      <IconButton
        name={words.menu}
        kind="dots"
        aria-haspopup="menu"
        aria-expanded={open.value}
        onClick={() => {
          open.value = !open.value;
        }}
      >
        ⋯
      </IconButton>
      {open.value && (
        <div class="pop menu-list" role="menu" aria-label={words.menu} onKeyDown={walk}>
          {has_graph && (
            <>
              <Item text={words.figure} act={done(() => (figure.value = scene()))} />
              <Item text={words.saveSvg} act={done(() => save("svg", store, scene()))} />
              <Item text={words.savePng} act={done(() => save("png", store, scene()))} />
              <Item text={words.saveJson} act={done(() => saveJson(store))} />
              <Item text={copied.value ? words.copied : words.copyPython} act={copy} />
              <hr />
            </>
          )}
          <button
            type="button"
            role="menuitemcheckbox"
            aria-checked={panel}
            onClick={done(() => store.setView({ panel: !panel }))}
          >
            <span>{words.panelToggle}</span>
            <span class="tick" aria-hidden="true">
              {panel ? "✓" : ""}
            </span>
          </button>
          <Item text={words.fullscreen} act={done(() => fullscreen(box.current))} />
          <hr />
          <OneOf
            label={words.theme}
            value={theme}
            options={["auto", "light", "dark"] as const}
            text={(one) => one}
            pick={(one) => store.setView({ theme: one })}
          />
          <OneOf
            label={words.textSize}
            value={text}
            options={[1, 1.25, 1.5]}
            text={(size) => `${100 * size}%`}
            pick={(size) => store.setView({ text: size })}
          />
          {by_hand.value !== null && (
            <label class="by-hand">
              {words.copyByHand}
              <textarea readOnly rows={6} value={by_hand.value} onFocus={(event) => event.currentTarget.select()} />
            </label>
          )}
        </div>
      )}
      {figure.value && <FigureDialog store={store} scene={figure.value} close={() => (figure.value = null)} />}
    </span>
  );
}

interface OneOfProps<T> {
  label: string;
  value: T;
  options: readonly T[];
  text: (option: T) => string;
  pick: (option: T) => void;
}

function OneOf<T extends string | number>({ label, value, options, text, pick }: OneOfProps<T>) {
  return (
    <div class="theme-row" role="group" aria-label={label}>
      <span>{label}</span>
      <span class="choice">
        {options.map((one) => (
          <button type="button" key={one} role="menuitemradio" aria-checked={one === value} onClick={() => pick(one)}>
            {text(one)}
          </button>
        ))}
      </span>
    </div>
  );
}

function Item({ text, act }: { text: string; act: () => void }) {
  return (
    <button type="button" role="menuitem" onClick={act}>
      {text}
    </button>
  );
}

export function fullscreen(inside: HTMLElement | null): void {
  const host = (inside?.getRootNode() as ShadowRoot | undefined)?.host;
  if (document.fullscreenElement) document.exitFullscreen();
  else host?.requestFullscreen?.().catch(() => {});
}
