// The menu "⋯": files, the Python of this view, theme, panel, full screen.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { Choice } from "../controls/choice.js";
import { ByHand, useCopy } from "../controls/copy.js";
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

const THEMES = ["auto", "light", "dark"] as const;

export function Menu({ store, view }: { store: Store; view: () => FlowView | null }) {
  const open = useSignal(false);
  const { copy, copied, by_hand } = useCopy();
  const figure = useSignal<Scene | null>(null);
  const box = useRef<HTMLSpanElement>(null);
  usePopup(open, box, "[role^=menuitem]");
  const done = (what: () => void) => () => {
    what();
    open.value = false;
  };
  const scene = () => view()?.scene() ?? null;
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
              <Item text={copied.value ? words.copied : words.copyPython} act={() => copy(python(store))} />
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
          <div class="theme-row">
            {words.theme}
            <Choice
              in_menu
              label={words.theme}
              value={theme}
              options={THEMES.map((one) => [one, one])}
              pick={(one) => store.setView({ theme: one as typeof theme })}
            />
          </div>
          <div class="theme-row">
            {words.textSize}
            <Choice
              in_menu
              label={words.textSize}
              value={String(text)}
              options={[1, 1.25, 1.5].map((size) => [String(size), `${100 * size}%`])}
              pick={(size) => store.setView({ text: Number(size) })}
            />
          </div>
          {by_hand.value && <ByHand text={by_hand.value} />}
        </div>
      )}
      {figure.value && <FigureDialog store={store} scene={figure.value} close={() => (figure.value = null)} />}
    </span>
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
