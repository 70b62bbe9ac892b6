// Pointer and wheel over the graph: hover, drag, click, zoom.
import type { ReadonlySignal } from "@preact/signals";
import { type Item, sameItem } from "../../core/select.js";
import type { Store } from "../../store/store.js";
import { zoomAt } from "./camera.js";
import { hit } from "./hit.js";
import type { Size } from "./paint.js";
import type { Scene } from "./scene.js";
import type { Pointer } from "./tooltip.js";

const STILL = 4; // px; a press that moves less is a click

/** Hovers an item, or nothing. */
export function setHover(el: HTMLElement, { hover }: Store, item: Item | null): void {
  if (!sameItem(hover.peek(), item)) hover.value = item;
  el.classList.toggle("over-item", item !== null);
}

/** Follows the pointer until `abort`; `choose` hears of clicks, on nothing too. */
export function followPointer(
  el: HTMLElement,
  store: Store,
  scene: ReadonlySignal<Scene | null>,
  size: Size,
  pointer: Pointer,
  choose: (item: Item | null) => void,
  abort: AbortSignal,
): void {
  let drag: { x: number; y: number; cx: number; cy: number; moved: boolean } | null = null;
  const on = <K extends keyof HTMLElementEventMap>(type: K, hear: (event: HTMLElementEventMap[K]) => void) =>
    el.addEventListener(type, hear, { signal: abort, passive: false });
  const locate = (event: PointerEvent | WheelEvent) => {
    const box = el.getBoundingClientRect();
    pointer.x = (event.clientX - box.left) * (size.width() / (box.width || 1));
    pointer.y = (event.clientY - box.top) * (size.height() / (box.height || 1));
  };
  const itemHere = (): Item | null => {
    const s = scene.peek();
    return s && hit(s.g, s.routes, s.layout, s.threshold, pointer.x, pointer.y);
  };
  const pull = (event: PointerEvent, from: NonNullable<typeof drag>) => {
    const [dx, dy] = [pointer.x - from.x, pointer.y - from.y];
    if (!from.moved && Math.hypot(dx, dy) < STILL) return;
    if (!from.moved) {
      from.moved = true;
      el.setPointerCapture(event.pointerId);
      el.classList.add("dragging");
      setHover(el, store, null);
    }
    store.camera.value = { ...store.camera.peek(), x: from.cx + dx, y: from.cy + dy };
  };
  const release = (event: PointerEvent) => {
    const was = drag;
    drag = null;
    el.classList.remove("dragging");
    if (!was || was.moved || event.type === "pointercancel") return;
    locate(event);
    const item = itemHere();
    // There is no hover under a finger: the first tap shows what is there, the second opens it.
    if (event.pointerType === "touch" && item && !sameItem(item, store.hover.peek())) setHover(el, store, item);
    else choose(item);
  };
  const fingers = new Map<number, { x: number; y: number }>();
  const apart = () => {
    const [a, b] = [...fingers.values()];
    return Math.max(20, Math.hypot(a.x - b.x, a.y - b.y));
  };
  /** Two fingers zoom the columns between them. */
  const pinch = (event: PointerEvent) => {
    const before = apart();
    fingers.set(event.pointerId, { x: pointer.x, y: pointer.y });
    const [a, b] = [...fingers.values()];
    const s = scene.peek();
    if (s) store.camera.value = zoomAt(s.layout, apart() / before, (a.x + b.x) / 2, (a.y + b.y) / 2);
  };
  const lift = (event: PointerEvent) => fingers.delete(event.pointerId);

  on("pointermove", (event) => {
    locate(event);
    pointer.over = true;
    if (fingers.size === 2) pinch(event);
    else if (drag) pull(event, drag);
    else if (event.pointerType !== "touch") setHover(el, store, itemHere());
  });
  on("pointerdown", (event) => {
    if (event.button !== 0) return;
    locate(event);
    const s = scene.peek();
    if (event.pointerType === "touch") fingers.set(event.pointerId, { x: pointer.x, y: pointer.y });
    if (fingers.size > 1) drag = null;
    else if (s) drag = { x: pointer.x, y: pointer.y, cx: s.layout.camera.x, cy: s.layout.camera.y, moved: false };
  });
  on("pointerup", lift);
  on("pointercancel", lift);
  on("pointerup", release);
  on("pointercancel", release);
  on("pointerleave", (event) => {
    lift(event);
    pointer.over = false;
    if (!drag && event.pointerType !== "touch") setHover(el, store, null);
  });
  on("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the plain wheel scrolls the notebook
    event.preventDefault();
    locate(event);
    const s = scene.peek();
    if (s)
      store.camera.value = zoomAt(
        s.layout,
        Math.exp(-(event.deltaY || event.deltaX) * 0.0025),
        pointer.x,
        pointer.y,
        event.shiftKey,
      );
  });
}
