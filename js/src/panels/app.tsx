// Everything inside the widget's frame: rows above, picture and legend left, panel right or below.

import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { layerCount, tokenName } from "../core/names.js";
import { HEIGHT, type Store } from "../model.js";
import { type FlowView, flowView } from "../views/flow/flow.js";
import * as words from "../words.js";
import { Close } from "./close.js";
import { Panel } from "./detail.js";
import { Legend } from "./legend.js";
import { PromptLine, Toolbar } from "./toolbar.js";

export function App({ store, ready, failed }: { store: Store; ready: () => void; failed: (error: unknown) => void }) {
  const view = useRef<FlowView | null>(null);
  const help = useSignal(false);
  const now = () => view.current;
  const panel = store.traits.view.value.panel && store.graph.value !== null;
  return (
    <>
      <PromptLine store={store} view={now} />
      <Toolbar store={store} view={now} />
      <div class={`main ${panel ? "with-panel" : ""}`}>
        <div class="left">
          <Flow store={store} hold={view} onHelp={() => (help.value = !help.value)} ready={ready} failed={failed} />
          <Legend store={store} />
          <Notice store={store} />
          {help.value && <Keys close={() => (help.value = false)} />}
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
  onHelp,
  ready,
  failed,
}: {
  failed: (error: unknown) => void;
  store: Store;
  hold: { current: FlowView | null };
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
    const view = flowView(el, store, { width: () => width.value, height: () => height.value }, onHelp, failed);
    hold.current = view;
    const frame = requestAnimationFrame(() => requestAnimationFrame(ready));
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
          {!store.offline && <p class="note">{words.emptyHint}</p>}
        </div>
      )}
    </>
  );
}

/** What went wrong, in words, over the picture so that nothing jumps; the old picture stays. */
function Notice({ store }: { store: Store }) {
  const hidden = useSignal("");
  const { state, text, done, total } = store.traits.status.value;
  const problem = store.problem.value ?? (state === "error" ? text : null);
  if (problem && problem !== hidden.value) {
    return (
      <div class="notice error" role="alert">
        <span>{problem}</span>
        <Close act={() => (hidden.value = problem)} />
      </div>
    );
  }
  if (state !== "running") return null;
  return (
    <div class="notice" role="status">
      <span>{text || words.running}</span>
      {total > 1 && <span class="number">{words.progress(done, total)}</span>}
    </div>
  );
}

function Keys({ close }: { close: () => void }) {
  return (
    <div class="pop keys-help" role="dialog" aria-label={words.keysTitle}>
      <h3>
        {words.keysTitle}
        <Close act={close} />
      </h3>
      <dl>
        {words.keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}

/** The lower edge, to drag or to move with the arrow keys. */
function Handle({ store }: { store: Store }) {
  const { height } = store.traits.view.value;
  const from = useRef<{ y: number; height: number } | null>(null);
  const set = (h: number, wait: number) =>
    store.setView({ height: Math.round(Math.max(HEIGHT.min, Math.min(HEIGHT.max, h))) }, wait);
  return (
    <div
      class="handle"
      role="separator"
      aria-orientation="horizontal"
      aria-label={words.resize}
      aria-valuenow={height}
      aria-valuemin={HEIGHT.min}
      aria-valuemax={HEIGHT.max}
      tabIndex={0}
      onPointerDown={(event) => {
        from.current = { y: event.clientY, height };
        event.currentTarget.setPointerCapture(event.pointerId);
      }}
      onPointerMove={(event) => from.current && set(from.current.height + event.clientY - from.current.y, 200)}
      onPointerUp={() => (from.current = null)}
      onPointerCancel={() => (from.current = null)}
      onKeyDown={(event) => {
        const step = event.key === "ArrowDown" ? 20 : event.key === "ArrowUp" ? -20 : 0;
        if (!step) return;
        event.preventDefault();
        set(height + step, 200);
      }}
    />
  );
}
