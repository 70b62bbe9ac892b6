// The prompt as running text, shaded by input share: its words and the picture's columns are pointed at together.
import { effect } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import type { Graph } from "../core/graph.js";
import { percent } from "../core/numbers.js";
import { type Passage, passages, reads } from "../core/passages.js";
import { sameItem } from "../core/select.js";
import type { Store } from "../store/store.js";
import { columnsOf } from "../views/flow/scene.js";
import * as words from "../words.js";

const LEAST = 0.002; // of the state: less leaves a word unshaded
const DARKEST = 0.1; // the share from which the background is full

export function RunningText({ store }: { store: Store }) {
  const box = useRef<HTMLDivElement>(null);
  const sum = useRef<HTMLSpanElement>(null);
  const g = store.graph.value;
  useLayoutEffect(() => (g && box.current && sum.current ? written(box.current, sum.current, store, g) : undefined), [g]);
  if (!g) return null;
  return (
    <div class="running">
      <div
        ref={box}
        class="text"
        dir="auto"
        role="application"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the text is one stop of the Tab order, its arrows walk the words
        tabIndex={0}
        aria-label={words.textLabel}
      />
      <span ref={sum} class="sum" role="status" hidden />
    </div>
  );
}

/** Writes the words into `box` and keeps their shades and marks; returns what ends that. By hand: thousands of words move with the slider. */
function written(box: HTMLElement, sum: HTMLElement, store: Store, g: Graph): () => void {
  const spans: HTMLElement[] = [];
  const opened = new Set<number>();
  let shown = "";
  const write = (all: Passage[]) => {
    const key = all.map(({ from, is_idle }) => from * 2 + Number(is_idle)).join();
    if (key === shown) return;
    shown = key;
    spans.length = 0;
    box.replaceChildren(...all.flatMap((passage) => pieces(g, passage, spans)));
  };
  const posOf = (event: Event) => {
    const span = (event.composedPath()[0] as Element).closest<HTMLElement>("[data-pos]");
    return span ? Number(span.dataset.pos) : -1;
  };
  let from = -1; // where a drag over words began
  let range: [number, number] | null = null;
  const point = (pos: number) => {
    const item = pos < 0 ? null : { kind: "token" as const, pos };
    if (!sameItem(store.hover.peek(), item)) store.hover.value = item;
  };
  const mark = (next: [number, number] | null) => {
    range = next;
    const share = store.routes.peek()?.input_share;
    for (const [pos, span] of spans.entries()) span?.classList.toggle("within", !!next && pos >= next[0] && pos <= next[1]);
    sum.hidden = !next || !share;
    if (!next || !share) return;
    const part = share.subarray(next[0], next[1] + 1).reduce((a, b) => a + b, 0);
    sum.textContent = words.sumOf(next[1] - next[0] + 1, percent(part));
  };
  const abort = new AbortController();
  const on = <K extends keyof HTMLElementEventMap>(type: K, hear: (event: HTMLElementEventMap[K]) => void) =>
    box.addEventListener(type, hear, { signal: abort.signal });
  on("pointerover", (event) => {
    const pos = posOf(event);
    point(pos);
    if (from >= 0 && pos >= 0 && (pos !== from || range)) mark([Math.min(from, pos), Math.max(from, pos)]);
  });
  on("pointerleave", () => point(-1));
  // The box has its height only once everything beside it has; from then on the reader scrolls.
  const settling = new ResizeObserver(() => reveal(box, spans[store.target.peek()]));
  settling.observe(box);
  for (const touch of ["pointerdown", "wheel", "keydown"] as const) on(touch, () => settling.disconnect());
  on("pointerdown", (event) => {
    mark(null);
    from = event.pointerType === "touch" ? -1 : posOf(event); // a finger scrolls
  });
  const end = () => {
    from = -1;
  };
  document.addEventListener("pointerup", end, { signal: abort.signal });
  on("click", (event) => {
    const fold = (event.composedPath()[0] as Element).closest<HTMLElement>("[data-open]");
    if (fold) {
      opened.add(Number(fold.dataset.open));
      compose();
    } else if (!range && posOf(event) >= 0) store.setTarget(posOf(event));
  });
  on("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -g.T, End: g.T }[event.key];
    const hover = store.hover.peek();
    const at = hover?.kind === "token" ? hover.pos : store.target.peek();
    if (step) point(Math.max(0, Math.min(g.T - 1, at + step)));
    else if (event.key === "Enter" || event.key === "t") store.setTarget(at);
    else if (event.key === "Escape") point(-1);
    else return;
    event.preventDefault();
  });
  const compose = () => {
    const routes = store.routes.peek();
    if (!routes) return;
    const matters = Uint8Array.from(routes.input_share, (share, t) => Number(share > LEAST || t === routes.target));
    write(passages(g, matters).map((one) => (opened.has(one.from) ? { ...one, is_idle: false } : one)));
    for (const [pos, span] of spans.entries()) {
      if (!span) continue;
      const share = routes.input_share[pos];
      span.style.setProperty("--share", share > LEAST ? Math.min(1, share / DARKEST).toFixed(2) : "0");
      span.classList.toggle("target", pos === routes.target);
    }
    reveal(box, spans[routes.target]);
  };
  let lit: HTMLElement[] = [];
  const stops = [
    effect(() => {
      store.routes.value;
      compose();
    }),
    effect(() => {
      const hover = store.hover.value;
      const marked = hover ?? store.selected.value;
      for (const span of lit) span.classList.remove("lit");
      lit = marked ? columnsOf(g, marked).flatMap((pos) => spans[pos] ?? []) : [];
      for (const span of lit) span.classList.add("lit");
      if (hover && !box.matches(":hover")) reveal(box, lit[0]);
    }),
  ];
  return () => {
    abort.abort();
    settling.disconnect();
    for (const stop of stops) stop();
  };
}

function pieces(g: Graph, { from, to, role, is_idle }: Passage, spans: HTMLElement[]): HTMLElement[] {
  const out: HTMLElement[] = [];
  const make = (tag: string, kind: string, text: string) => {
    const el = document.createElement(tag);
    el.className = kind;
    el.textContent = text;
    out.push(el);
    return el;
  };
  if (role) make("strong", "role", role);
  if (is_idle) {
    const fold = make("button", "idle", words.idleWords(to - from)) as HTMLButtonElement;
    fold.type = "button";
    fold.dataset.open = String(from);
    fold.title = words.idleTitle;
    return out;
  }
  for (let pos = from; pos < to; pos++) {
    const span = make("span", g.meta.tokens.special[pos] ? "special" : "", reads(g, pos));
    span.dataset.pos = String(pos);
    spans[pos] = span;
  }
  return out;
}

/** Scrolls the text, and nothing around it. */
function reveal(box: HTMLElement, span: HTMLElement | undefined): void {
  if (!span) return;
  const top = span.offsetTop - box.offsetTop;
  if (top < box.scrollTop || top + span.offsetHeight > box.scrollTop + box.clientHeight)
    box.scrollTop = top - box.clientHeight / 2;
}
