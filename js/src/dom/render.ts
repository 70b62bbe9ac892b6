// JSX to elements: what changed since the last drawing is changed in the page, nothing else. Function components draw
// themselves again when a signal they read changes; three hooks.
import type { ComponentChildren, JSX } from "preact"; // types only
import { effect, type Signal, signal } from "./signals.js";

type Props = Record<string, unknown> & { children?: Child };
type Draw = (props: Props) => Child;
interface Tree {
  type: string | Draw | null; // null: a fragment
  props: Props;
  key: unknown;
}
type Child = Tree | Child[] | string | number | boolean | null | undefined;

/** A child as it is in the page. */
interface Shown {
  type: unknown;
  key: unknown;
  node: Node | null; // of a text or an element
  props: Props;
  inner: Shown[];
  drawn?: Drawn;
  parent: Element;
  svg: boolean;
}

interface Cell {
  deps?: unknown[];
  run?: (() => unknown) | null;
  end?: unknown;
}

/** What a component remembers between two drawings. */
interface Drawn {
  shown: Shown;
  cells: Cell[];
  at: number;
  depth: number;
  stop: () => void;
  failed: (error: unknown) => void;
}

const TEXT = Symbol(); // the type of texts and holes
const SVG = "http://www.w3.org/2000/svg";
const ATTRIBUTES = /^(role|width|height|tabIndex|list|form)$/; // names that also are properties, of another kind

let drawing: Drawn;
let due = false;
const again = new Set<Drawn>(); // components to draw again
const mounted: Drawn[] = []; // components whose effects are due

/** What JSX calls. */
export const element = ((type: string | Draw, props: Props | null, ...children: Child[]): Tree => ({
  type: (type as unknown) === Fragment ? null : type,
  key: props?.key,
  props: children.length ? { ...props, children: children.length > 1 ? children : children[0] } : (props ?? {}),
})) as unknown as (type: unknown, props?: unknown, ...children: unknown[]) => JSX.Element;

export function Fragment({ children }: { children?: ComponentChildren }): ComponentChildren {
  return children;
}

/** Draws `tree` inside `parent`; `failed` hears of errors, also of later ones. Returns what removes it. */
export function mount(tree: JSX.Element, parent: Element, failed: (error: unknown) => void): () => void {
  const root: Drawn = { shown: hole(parent), cells: [], at: 0, depth: 0, stop: () => {}, failed };
  let shown: Shown | null = null;
  try {
    shown = patch(null, tree as unknown as Child, parent, null, false, root);
    settle();
  } catch (error) {
    failed(error);
  }
  return () => {
    if (shown) remove(shown);
    shown = null;
  };
}

function hole(parent: Element): Shown {
  return { type: TEXT, key: undefined, node: null, props: {}, inner: [], parent, svg: false };
}

const isText = (child: Child) => typeof child === "string" || typeof child === "number";

/** `child` in the page before `before`, in place of `old` where that is the same kind of thing. */
function patch(old: Shown | null, child: Child, parent: Element, before: Node | null, svg: boolean, within: Drawn): Shown {
  const tree: Tree | null = Array.isArray(child)
    ? { type: null, props: { children: child }, key: undefined }
    : child && typeof child === "object"
      ? child
      : null;
  const type = tree ? tree.type : TEXT;
  if (old && (old.type !== type || old.key !== tree?.key)) {
    remove(old);
    old = null;
  }
  const shown = old ?? { ...hole(parent), type, key: tree?.key, svg };
  if (!tree) patchText(shown, isText(child) ? String(child) : null);
  else if (typeof type === "function") patchComponent(shown, tree, before, within);
  else if (type === null) shown.inner = patchAll(shown.inner, [tree.props.children, ""].flat(1), parent, before, svg, within);
  else patchElement(shown, tree, within);
  shown.props = tree?.props ?? {};
  if (shown.node && (shown.node.parentNode !== parent || shown.node.nextSibling !== before))
    parent.insertBefore(shown.node, before);
  return shown;
}

function patchText(shown: Shown, text: string | null): void {
  if (text === null) {
    (shown.node as ChildNode | null)?.remove();
    shown.node = null;
  } else {
    shown.node ??= document.createTextNode(text);
    if (shown.node.nodeValue !== text) shown.node.nodeValue = text;
  }
}

function patchElement(shown: Shown, { type, props }: Tree, within: Drawn): void {
  shown.svg ||= type === "svg";
  shown.node ??= create(type as string, shown.svg);
  const el = shown.node as Element;
  shown.inner = patchAll(shown.inner, [props.children].flat(1), el, null, shown.svg, within);
  for (const name of new Set([...Object.keys(shown.props), ...Object.keys(props)])) {
    if (shown.props[name] !== props[name] || name === "value") setProp(el, name, props[name], shown.props[name], shown.svg);
  }
}

function create(type: string, svg: boolean): Element {
  if (svg) return document.createElementNS(SVG, type);
  const el = document.createElement(type);
  if (type === "button") (el as HTMLButtonElement).type = type; // it submits only where it says so
  return el;
}

/** The children of one element or fragment, the last one first, so that what comes after is already in place. */
function patchAll(old: Shown[], children: Child[], parent: Element, before: Node | null, svg: boolean, within: Drawn): Shown[] {
  const keyed = new Map(old.filter((s) => s.key !== undefined).map((s) => [s.key, s]));
  const next: Shown[] = [];
  const matches = children.map((child, i) => {
    const key = child && typeof child === "object" && !Array.isArray(child) ? child.key : undefined;
    const match = key === undefined ? old[i] : keyed.get(key);
    return match && match.key === key ? match : null;
  });
  const kept = new Set(matches);
  for (const s of old) if (!kept.has(s)) remove(s);
  for (let i = children.length - 1; i >= 0; i--) {
    next[i] = patch(matches[i], children[i], parent, before, svg, within);
    before = nodesOf(next[i])[0] ?? before;
  }
  return next;
}

function patchComponent(shown: Shown, { type, props }: Tree, before: Node | null, within: Drawn): void {
  if (!shown.drawn) {
    shown.drawn = { shown, cells: [], at: 0, depth: within.depth + 1, stop: () => {}, failed: within.failed };
  }
  draw(shown.drawn, type as Draw, props, before);
}

function draw(drawn: Drawn, type: Draw, props: Props, before: Node | null): void {
  const { shown } = drawn;
  let tree: Child;
  let fresh = true;
  again.delete(drawn);
  drawn.stop();
  drawn.at = 0;
  drawn.stop = effect(() => {
    drawing = drawn;
    if (fresh) tree = type(props);
    else schedule(drawn); // reads nothing, so that it hears no more until it is drawn again
    fresh = false;
  });
  shown.inner = [
    patch(shown.inner[0] ?? null, isText(tree) || (tree && tree !== true) ? tree : "", shown.parent, before, shown.svg, drawn),
  ];
  mounted.push(drawn);
}

function schedule(drawn: Drawn): void {
  again.add(drawn);
  if (!due) queueMicrotask(redraw);
  due = true;
}

/** Draws again what changed, outer components first: they may take inner ones away. */
function redraw(): void {
  due = false;
  for (const drawn of [...again].sort((a, b) => a.depth - b.depth)) {
    if (!again.has(drawn)) continue; // drawn or gone with an outer one
    const { shown } = drawn;
    try {
      draw(drawn, shown.type as Draw, shown.props, nodesOf(shown).at(-1)?.nextSibling ?? null);
    } catch (error) {
      drawn.failed(error);
    }
  }
  settle();
}

/** Runs the effects that are due. */
function settle(): void {
  for (const { cells, failed } of mounted.splice(0)) {
    for (const cell of cells) {
      const { run } = cell;
      if (!run) continue;
      cell.run = null;
      try {
        end(cell);
        cell.end = run();
      } catch (error) {
        failed(error);
      }
    }
  }
}

function end({ end }: Cell): void {
  if (typeof end === "function") end();
}

/** The outermost nodes of a child, in the order of the page. */
function nodesOf({ node, inner }: Shown): Node[] {
  return node ? [node] : inner.flatMap(nodesOf);
}

function remove(shown: Shown): void {
  for (const node of nodesOf(shown)) (node as ChildNode).remove();
  forget(shown);
}

function forget({ drawn, props, inner, type }: Shown): void {
  if (drawn) {
    drawn.stop();
    again.delete(drawn);
    drawn.cells.forEach(end);
    drawn.cells = [];
  }
  const ref = props.ref as { current: unknown } | undefined;
  if (ref && typeof type === "string") ref.current = null;
  inner.forEach(forget);
}

const handlers = new WeakMap<Element, Record<string, (event: Event) => void>>();

function setProp(el: Element, name: string, value: unknown, old: unknown, svg: boolean): void {
  if (name === "ref") (value as { current: unknown }).current = el;
  else if (name === "style") {
    const { style } = el as HTMLElement;
    for (const [key, text] of Object.entries({ ...(value as Record<string, string>) })) {
      if (key.startsWith("--")) style.setProperty(key, String(text));
      else style[key as "width"] = text;
    }
  } else if (name.startsWith("on")) {
    const type = name.slice(2).toLowerCase();
    if (!handlers.has(el)) handlers.set(el, {});
    const mine = handlers.get(el) as Record<string, unknown>;
    if (!(type in mine)) el.addEventListener(type, dispatch);
    mine[type] = value;
  } else if (name === "children" || name === "key") {
    // not the page's
  } else if (!svg && name in el && !ATTRIBUTES.test(name)) {
    if (name !== "value" || (el as HTMLInputElement).value !== value) (el as unknown as Props)[name] = value ?? "";
    if (value == null && old != null) el.removeAttribute(name);
  } else if (value == null || (value === false && !name.startsWith("aria-"))) el.removeAttribute(name);
  else el.setAttribute(name, String(value));
}

function dispatch(this: Element, event: Event): void {
  handlers.get(this)?.[event.type]?.(event);
}

function cell<T extends object>(make: () => T): T {
  const i = drawing.at++;
  drawing.cells[i] ??= make();
  return drawing.cells[i] as T;
}

export function useRef<T>(value: T): { current: T };
export function useRef<T>(value: T | null): { current: T | null };
export function useRef<T>(value: T): { current: T } {
  return cell(() => ({ current: value }));
}

export function useSignal<T>(value: T): Signal<T> {
  return cell(() => ({ own: signal(value) })).own;
}

/** Runs once the elements are in the page, and again when `deps` change; what it returns ends it. */
export function useEffect(run: () => unknown, deps: unknown[]): void {
  const own = cell<Cell>(() => ({}));
  if (!own.deps || deps.some((value, i) => value !== own.deps?.[i])) {
    own.deps = deps;
    own.run = run;
  }
}
