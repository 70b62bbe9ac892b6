// Values that know who reads them: signals, what is computed from them, and effects that run again when they change.

export interface ReadonlySignal<T> {
  readonly value: T;
  /** the value, without reading it on behalf of anyone */
  peek(): T;
}
export interface Signal<T> extends ReadonlySignal<T> {
  value: T;
}

interface Source {
  version: number;
  readers: Set<Reader>;
  settle(): void; // brings the version up to date
}
interface Reader {
  sources: Map<Source, number>; // and the version that was read
  stale(): void; // a source may have changed
}

const LONGEST = 100; // rounds of effects that set off each other

let reader: Reader | null = null;
let held = 0;
const waiting = new Set<Effect>();

export function signal<T>(value: T): Signal<T> {
  return new Cell(value);
}

/** Computed when read, and again when read after a source has changed. */
export function computed<T>(make: () => T): ReadonlySignal<T> {
  return new Computed(make);
}

/** Runs now and whenever what it read has changed; returns what ends it. */
export function effect(run: () => void): () => void {
  const e = new Effect(run);
  batch(() => e.settle());
  return () => {
    forget(e);
    waiting.delete(e);
  };
}

/** Effects wait until all of `change` is done. */
export function batch(change: () => void): void {
  let wrong: { error: unknown } | null = null; // the first error; the other effects still run
  held++;
  try {
    change();
    for (let n = 0; held === 1 && waiting.size > 0; n++) {
      if (n === LONGEST) throw new Error("effects set off each other without end");
      const now = [...waiting];
      waiting.clear();
      for (const e of now) {
        try {
          e.settle();
        } catch (error) {
          wrong ??= { error };
        }
      }
    }
  } finally {
    held--;
  }
  if (wrong) throw wrong.error;
}

class Cell<T> implements Source, Signal<T> {
  version = 0;
  readers = new Set<Reader>();
  #now: T;
  constructor(now: T) {
    this.#now = now;
  }
  get value(): T {
    note(this);
    return this.#now;
  }
  set value(value: T) {
    if (Object.is(value, this.#now)) return;
    this.#now = value;
    this.version++;
    batch(() => tell(this));
  }
  peek(): T {
    return this.#now;
  }
  settle(): void {}
}

class Computed<T> implements Source, Reader, ReadonlySignal<T> {
  version = 0;
  readers = new Set<Reader>();
  sources = new Map<Source, number>();
  #dirty = true;
  #now!: T;
  #wrong: { error: unknown } | null = null;
  #make: () => T;
  constructor(make: () => T) {
    this.#make = make;
  }
  get value(): T {
    this.settle();
    note(this);
    return this.known();
  }
  peek(): T {
    this.settle();
    return this.known();
  }
  stale(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    tell(this);
  }
  settle(): void {
    if (!this.#dirty) return;
    if (this.version === 0 || changed(this)) {
      const before = this.#now;
      try {
        this.#now = reading(this, this.#make);
        this.#wrong = null;
      } catch (error) {
        this.#wrong = { error };
      }
      if (this.version === 0 || this.#wrong || !Object.is(before, this.#now)) this.version++;
    }
    this.#dirty = false;
  }
  private known(): T {
    if (this.#wrong) throw this.#wrong.error;
    return this.#now;
  }
}

class Effect implements Reader {
  sources = new Map<Source, number>();
  #ran = false;
  #run: () => void;
  constructor(run: () => void) {
    this.#run = run;
  }
  stale(): void {
    waiting.add(this);
  }
  settle(): void {
    if (this.#ran && !changed(this)) return;
    this.#ran = true;
    reading(this, this.#run);
  }
}

function note(source: Source): void {
  if (!reader) return;
  reader.sources.set(source, source.version);
  source.readers.add(reader);
}

function tell(source: Source): void {
  for (const r of [...source.readers]) r.stale();
}

function changed({ sources }: Reader): boolean {
  for (const [source, version] of sources) {
    source.settle();
    if (source.version !== version) return true;
  }
  return false;
}

function forget(r: Reader): void {
  for (const source of r.sources.keys()) source.readers.delete(r);
  r.sources.clear();
}

function reading<T>(r: Reader, run: () => T): T {
  const outer = reader;
  forget(r);
  reader = r;
  try {
    return run();
  } finally {
    reader = outer;
  }
}
