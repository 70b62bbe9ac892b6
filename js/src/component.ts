// Function components that draw themselves again when a signal they read changes, and the three hooks they use.
import { effect, type Signal, signal } from "@preact/signals-core";
import { type Attributes, Component, type ComponentChild, Fragment, type FunctionComponent, h } from "preact";

type Draw = FunctionComponent<Attributes>;
type Cell = { deps?: unknown[]; run?: () => unknown; end?: unknown };

let drawing: Drawn; // the component whose function runs just now
const known = new WeakMap<Draw, typeof Drawn>();

/** A function component with a memory: one cell for every hook it calls. */
class Drawn extends Component<Attributes> {
  declare draw: Draw; // on the prototype
  cells: Cell[] = [];
  at = 0;
  stop = () => {};

  override render(): ComponentChild {
    let tree: ComponentChild;
    let fresh = true;
    this.stop();
    this.at = 0;
    this.stop = effect(() => {
      drawing = this;
      if (fresh) tree = this.draw(this.props) as ComponentChild;
      else this.setState({}); // reads nothing, so that it hears no more until it is drawn again
      fresh = false;
    });
    return tree;
  }
  override componentDidMount(): void {
    for (const cell of this.cells) {
      const run = cell.run;
      if (!run) continue;
      cell.run = undefined;
      end(cell);
      cell.end = run();
    }
  }
  override componentDidUpdate(): void {
    this.componentDidMount();
  }
  override componentWillUnmount(): void {
    this.stop();
    this.cells.forEach(end);
  }
}

function end(cell: Cell): void {
  if (typeof cell.end === "function") cell.end();
}

/** What JSX calls: `h`, with every function component made to follow its signals. */
export const element = ((type: unknown, ...rest: unknown[]) => {
  if (typeof type === "function" && type !== Fragment && !type.prototype?.render) {
    const draw = type as Draw;
    let followed = known.get(draw);
    if (!followed) {
      followed = class extends Drawn {};
      followed.prototype.draw = draw;
      known.set(draw, followed);
    }
    type = followed;
  }
  return (h as (...all: unknown[]) => unknown)(type, ...rest);
}) as typeof h;

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
