// The lower edge of the widget, to drag or to move with the arrow keys.
import { useRef } from "preact/hooks";
import type { Store } from "../store/store.js";
import { HEIGHT } from "../store/traits.js";
import * as words from "../words.js";

export function Handle({ store }: { store: Store }) {
  const { height, text } = store.traits.view.value;
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
      onPointerMove={(event) => from.current && set(from.current.height + (event.clientY - from.current.y) / text, 200)}
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
