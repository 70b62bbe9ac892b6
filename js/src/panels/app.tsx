// Everything inside the widget's frame: rows above, picture and legend left, panel right or below.

import { batch, useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { layerCount, tokenName } from "../core/names.js";
import type { Store } from "../store/store.js";
import { type FlowView, flowView } from "../views/flow/flow.js";
import * as words from "../words.js";
import { Beside } from "./beside.js";
import { Edits } from "./edits.js";
import { Handle } from "./handle.js";
import { Keys } from "./keys.js";
import { Legend } from "./legend.js";
import { Notice } from "./notice.js";
import { Panel } from "./panel.js";
import { PromptLine } from "./prompt.js";
import { RunningText } from "./text.js";
import { Toolbar } from "./toolbar.js";
import { Travel } from "./travel.js";

export function App({ store, ready, failed }: { store: Store; ready: () => void; failed: (error: unknown) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const drawn = useSignal<FlowView | null>(null);
  const help = useSignal(false);
  const width = useSignal(0);
  const height = useSignal(0);
  const now = () => drawn.peek();
  const panel = store.traits.view.value.panel && store.graph.value !== null;
  // Here, where all around the picture has its words: it is measured, laid out and drawn once.
  useLayoutEffect(() => {
    const el = box.current as HTMLDivElement;
    const measure = () =>
      batch(() => {
        width.value = el.clientWidth;
        height.value = el.clientHeight;
      });
    const observer = new ResizeObserver(measure);
    observer.observe(el);
    measure();
    const size = { width: () => width.value, height: () => height.value, zoom: () => store.traits.view.value.text };
    const view = flowView(el, store, size, () => (help.value = !help.value), failed);
    drawn.value = view;
    let frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(() => {
        store.settled.value = true;
        frame = requestAnimationFrame(ready);
      });
    });
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      drawn.value = null;
      view.dispose();
    };
  }, []);
  return (
    <>
      <PromptLine store={store} view={now} />
      <Toolbar store={store} view={now} />
      <Edits store={store} />
      <div class={`main ${panel ? "with-panel" : ""}`}>
        <div class={`left ${store.traits.status.value.state === "running" ? "old" : ""}`}>
          <Beside store={store} />
          <Flow store={store} box={box} />
          <Travel store={store} drawn={drawn} />
          <RunningText store={store} />
          <Legend store={store} />
          <Notice store={store} />
          {help.value && <Keys store={store} close={() => (help.value = false)} />}
        </div>
        {panel && <Panel store={store} />}
      </div>
      <Handle store={store} />
    </>
  );
}

function Flow({ store, box }: { store: Store; box: RefObject<HTMLDivElement | null> }) {
  const g = store.graph.value;
  return (
    <>
      <div
        ref={box}
        class="flow"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the picture is one stop of the Tab order and handles its own keys
        tabIndex={0}
        role="application"
        aria-label={
          g
            ? `${words.live.graph(g.T, words.layers(layerCount(g)), tokenName(g, store.target.value))} ${words.graphLabel}`
            : words.empty
        }
      />
      {!g && (
        <div class="empty">
          <p>{words.empty}</p>
          {LIVE && !store.offline && <p class="note">{words.emptyHint}</p>}
        </div>
      )}
    </>
  );
}
