// The model of a page without a kernel: keeps the state, answers what the page carries an answer for.

/** JSON with sorted keys, so that Python's key order does not matter. */
export function canonical(value: unknown): string {
  return (
    JSON.stringify(value, (_, v) =>
      v && typeof v === "object" && !Array.isArray(v)
        ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => (a < b ? -1 : 1)))
        : v,
    ) ?? "undefined"
  );
}

type State = Record<string, unknown>;
type Callback = (...args: unknown[]) => void;

export class StaticModel {
  offline = true;
  transport?: { save(state: State): void; send?(content: unknown, buffers: unknown[]): void };
  widget_manager = { get_model: () => Promise.reject(new Error("no kernel")) };
  #state: State;
  #pending: State = {};
  #callbacks = new Map<string, Set<Callback>>();
  #answer: (name: string, value: unknown) => State | null;

  /** `answer` gives the traits that change once the trait `name` was set to `value`, or null. */
  constructor(state: State, answer: (name: string, value: unknown) => State | null = () => null) {
    this.#state = state;
    this.#answer = answer;
  }
  get(name: string): unknown {
    return this.#state[name];
  }
  set(name: string | State, value?: unknown): void {
    const wanted = typeof name === "string" ? { [name]: value } : name;
    const changed = Object.keys(wanted).filter((key) => this.#state[key] !== wanted[key]);
    for (const key of changed) this.#state[key] = this.#pending[key] = wanted[key];
    for (const key of changed) this.#emit(`change:${key}`, this, wanted[key]);
    if (changed.length) this.#emit("change", this);
  }
  /** state arriving from the other side: no echo back */
  receive(state: State): void {
    this.set(state);
    for (const key of Object.keys(state)) delete this.#pending[key];
  }
  message(content: unknown, buffers: DataView[] = []): void {
    this.#emit("msg:custom", content, buffers);
  }
  save_changes(): void {
    const pending = this.#pending;
    this.#pending = {};
    if (Object.keys(pending).length === 0) return;
    if (this.transport) {
      this.transport.save(pending);
      return;
    }
    for (const [name, value] of Object.entries(pending)) {
      const patch = this.#answer(name, value);
      if (patch) queueMicrotask(() => this.receive(patch));
    }
  }
  send(content: unknown, _callbacks?: unknown, buffers: unknown[] = []): void {
    this.transport?.send?.(content, buffers);
  }
  on(event: string, callback: Callback): void {
    const set = this.#callbacks.get(event) ?? new Set();
    this.#callbacks.set(event, set.add(callback));
  }
  off(event?: string | null, callback?: Callback | null): void {
    if (event == null) this.#callbacks.clear();
    else if (callback == null) this.#callbacks.delete(event);
    else this.#callbacks.get(event)?.delete(callback);
  }
  #emit(event: string, ...args: unknown[]): void {
    for (const callback of [...(this.#callbacks.get(event) ?? [])]) callback(...args);
  }
}
