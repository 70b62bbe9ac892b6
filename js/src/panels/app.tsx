// Everything inside the widget's frame: rows above, picture and legend left, panel right or below.

import { type Signal, useSignal } from "@preact/signals";
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
  const view = useRef<FlowView | null>(null);
  const drawn = useSignal<FlowView | null>(null); // the same, for what follows its layout
  const help = useSignal(false);
  const now = () => view.current;
  const panel = store.traits.view.value.panel && store.graph.value !== null;
  return (
    <>
      <PromptLine store={store} view={now} />
      <Toolbar store={store} view={now} />
      <Edits store={store} />
      <div class={`main ${panel ? "with-panel" : ""}`}>
        <div class={`left ${store.traits.status.value.state === "running" ? "old" : ""}`}>
          <Beside store={store} />
          <Flow store={store} hold={view} told={drawn} onHelp={() => (help.value = !help.value)} ready={ready} failed={failed} />
          <Travel store={store} view={drawn.value} />
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

function Flow({
  store,
  hold,
  told,
  onHelp,
  ready,
  failed,
}: {
  failed: (error: unknown) => void;
  store: Store;
  hold: { current: FlowView | null };
  told: Signal<FlowView | null>;
  onHelp: () => void;
  ready: () => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  const height = useSignal(0);
  useLayoutEffect(() => {
    const el = box.current as HTMLDivElement;
    const measure = () => {
      width.value = el.clientWidth;
      height.value = el.clientHeight;
    };
    const observer = new ResizeObserver(measure);
    observer.observe(el);
    measure();
    const view = flowView(
      el,
      store,
      { width: () => width.value, height: () => height.value, zoom: () => store.traits.view.value.text },
      onHelp,
      failed,
    );
    hold.current = view;
    told.value = view;
    let frame = requestAnimationFrame(() => {
      frame = requestAnimationFrame(() => {
        store.settled.value = true;
        frame = requestAnimationFrame(ready);
      });
    });
    return () => {
      cancelAnimationFrame(frame);
      observer.disconnect();
      hold.current = null;
      view.dispose();
    };
  }, []);
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
