// Ways through a long prompt: buttons that zoom, and a strip of all input shares with a window to drag.
import type { ReadonlySignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon, IconButton } from "../controls/icon.js";
import { fullBar } from "../core/numbers.js";
import { paletteOf } from "../paint/colour.js";
import type { Store } from "../store/store.js";
import type { FlowView } from "../views/flow/flow.js";
import * as words from "../words.js";

const HEIGHT = 14;

export function Travel({ store, drawn }: { store: Store; drawn: ReadonlySignal<FlowView | null> }) {
  const view = drawn.value;
  const layout = view?.layout.value;
  if (!view || !layout) return null;
  const { seen } = layout;
  return (
    <>
      <span class="zoom" role="group">
        <IconButton name={words.zoomIn} onClick={() => view.zoom(1.35)}>
          +
        </IconButton>
        <IconButton name={words.zoomOut} onClick={() => view.zoom(1 / 1.35)}>
          −
        </IconButton>
        <IconButton name={words.keep} onClick={store.keep}>
          <Icon d="M1 1h7v7H1zM4 8v3h7V4H8" />
        </IconButton>
      </span>
      {seen && <Strip store={store} view={view} seen={seen} />}
    </>
  );
}

function Strip({ store, view, seen }: { store: Store; view: FlowView; seen: { from: number; to: number } }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const held = useRef<number | null>(null); // where in the window it is held
  const [routes, columns, dark] = [store.routes.value, store.columns.value, store.dark.value];
  useLayoutEffect(() => {
    const el = canvas.current;
    const c = el?.getContext("2d");
    if (!el || !c || !routes || !columns) return;
    el.width = el.clientWidth;
    el.height = HEIGHT;
    c.fillStyle = paletteOf(dark).attention;
    const [most, last] = [fullBar(routes.input_share), Math.max(1, columns.n_slots - 1)];
    for (const [pos, share] of routes.input_share.entries()) {
      if (!share || columns.folded[pos]) continue;
      const h = Math.max(1, Math.min(1, share / most) * HEIGHT);
      c.fillRect((columns.slot[pos] / last) * (el.width - 2), HEIGHT - h, 2, h);
    }
  }, [routes, columns, dark, view]);
  const wide = seen.to - seen.from;
  const at = (event: PointerEvent) => {
    const { left, width } = (canvas.current as HTMLCanvasElement).getBoundingClientRect();
    return (event.clientX - left) / width;
  };
  const go = (from: number) => view.seeFrom(Math.max(0, Math.min(1 - wide, from)));
  return (
    <div
      class="strip-of-all"
      role="slider"
      aria-label={words.overview}
      aria-orientation="horizontal"
      aria-valuenow={Math.round(100 * seen.from)}
      aria-valuemin={0}
      aria-valuemax={100}
      tabIndex={0}
      title={words.overview}
      onPointerDown={(event) => {
        const x = at(event);
        held.current = x >= seen.from && x <= seen.to ? x - seen.from : wide / 2;
        event.currentTarget.setPointerCapture(event.pointerId);
        go(x - held.current);
      }}
      onPointerMove={(event) => held.current !== null && go(at(event) - held.current)}
      onPointerUp={() => {
        held.current = null;
      }}
      onKeyDown={(event) => {
        const step = { ArrowLeft: -0.2, ArrowRight: 0.2, Home: -1e6, End: 1e6 }[event.key];
        if (!step) return;
        event.preventDefault();
        go(seen.from + step * wide);
      }}
    >
      <canvas ref={canvas} />
      <i style={{ left: `${100 * Math.max(0, seen.from)}%`, width: `${100 * Math.min(1, wide)}%` }} />
    </div>
  );
}
