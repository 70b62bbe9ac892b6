// The name and figures of what is hovered, beside it; the same sentence for the live region.
import { computed, effect, type ReadonlySignal } from "@preact/signals";
import { factsOf } from "../../core/facts.js";
import type { Item } from "../../core/select.js";
import type { Store } from "../../store/store.js";
import type { Size } from "./paint.js";
import type { Scene } from "./scene.js";

export interface Pointer {
  x: number; // px from the picture's corner
  y: number;
  over: boolean; // not so where keys have moved the hover
}

/** Shows a tooltip inside `el`; returns what ends that. */
export function tooltip(
  el: HTMLElement,
  store: Store,
  scene: ReadonlySignal<Scene | null>,
  size: Size,
  pointer: Pointer,
): () => void {
  const [tip, name, figures, more] = ["tip", "tip-name", "tip-figures", "tip-more"].map((kind) => {
    const box = document.createElement("div");
    box.className = kind;
    return box;
  });
  tip.hidden = true;
  tip.append(name, figures, more);
  el.append(tip);
  const facts = computed(() => {
    const [g, routes, item] = [store.graph.value, store.routes.value, store.hover.value];
    return g && routes && item && factsOf(g, routes, store.peek.value, item, store.own.value);
  });
  return effect(() => {
    const [said, s, item] = [facts.value, scene.value, store.hover.peek()];
    tip.hidden = !(said && s && item);
    if (!said) return;
    store.said.value = said.sentence;
    if (!s || !item) return;
    name.textContent = said.name;
    figures.textContent = said.figures;
    const rows = item.kind === "token" ? said.rows.slice(1) : []; // the first is among the figures
    more.textContent = rows.map(({ label, value }) => `${label} ${value}`).join(" · ");
    const { x, y } = anchor(s, item, pointer);
    const [w, h] = [tip.offsetWidth, tip.offsetHeight];
    const left = Math.max(4, Math.min(size.width() - w - 4, x - w / 2));
    const above = y - h - 14;
    const top = above >= 2 ? above : Math.min(size.height() - h - 4, y + 16);
    tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  });
}

/** Above a token's column, on a node, along a line where the pointer is. */
function anchor({ g, layout }: Scene, item: Item, pointer: Pointer): { x: number; y: number } {
  const { node_x, node_y } = layout;
  if (item.kind === "token") return { x: layout.x[item.pos], y: layout.bottom };
  if (item.kind === "node") return { x: node_x[item.node], y: node_y[item.node] };
  const [a, b] = [g.source[item.edge], g.entered[item.edge]];
  const by_pointer = pointer.over && node_x[a] !== node_x[b];
  return {
    x: by_pointer ? pointer.x : (node_x[a] + node_x[b]) / 2,
    y: Math.min(node_y[a], node_y[b], by_pointer ? pointer.y : Number.POSITIVE_INFINITY),
  };
}
