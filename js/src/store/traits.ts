// The traits as signals: what the host has is shown at once, and what the reader changes is written back.
import { type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Edit } from "../core/edits.js";
import { equal } from "../core/json.js";
import { type Settings, USUAL } from "../core/routes.js";
import type { Selection } from "../core/select.js";
import type { HostModel } from "../host.js";

export type Prompt = string | number[] | { role: string; content: string }[];

export interface View {
  fold: boolean;
  height: number;
  theme: "auto" | "light" | "dark";
  panel: boolean;
  text: number; // the size of everything, for a room or a projector; 1 is as in the notebook
}

export interface Status {
  state: "idle" | "running" | "error";
  text: string;
  done: number;
  total: number;
}

interface Values extends Settings {
  target: number;
  threshold: number | null; // null is automatic
  encoding: string;
  normalise: boolean;
  token: string | number | null; // explained; null is the one the model predicts
  foil: string | number | null;
  typed: string; // where a token is asked for
  completions: string[]; // of it, in the vocabulary
  selection: Selection | null;
  pins: Selection[];
  edits: Edit[];
  verify: boolean; // heads are taken out one after the other
  view: View;
  prompts: Prompt[];
  prompt: Prompt;
  status: Status;
}

export const HEIGHT = { min: 420, max: 900, usual: 560 };

export const DEFAULTS: Values = {
  target: -1,
  threshold: null,
  encoding: "flow",
  ...USUAL,
  normalise: true,
  token: null,
  foil: null,
  typed: "",
  completions: [],
  selection: null,
  pins: [],
  edits: [],
  verify: false,
  view: { fold: true, height: HEIGHT.usual, theme: "auto", panel: true, text: 1 },
  prompts: [],
  prompt: "",
  status: { state: "idle", text: "", done: 0, total: 0 },
};

const MESSAGES = ["graph", "peek", "detail", "before"] as const; // traits of bytes, from Python only

export interface Traits {
  traits: { readonly [K in keyof Values]: ReadonlySignal<Values[K]> };
  /** the traits of bytes as the host has them */
  messages: { readonly [K in (typeof MESSAGES)[number]]: ReadonlySignal<unknown> };
  offline: boolean;
  home: number; // the target that was explained when the widget was opened
  /** shows at once, and tells Python after `wait` ms; the last value wins */
  write<K extends keyof Values>(name: K, value: Values[K], wait?: number): void;
  setView(patch: Partial<View>, wait?: number): void;
}

/** The host's traits until `abort`; what waits to be written then is written. */
export function traitsOf(model: HostModel, abort: AbortSignal): Traits {
  const stops: (() => void)[] = [];
  const timers = new Map<string, { id: ReturnType<typeof setTimeout>; flush: () => void }>();
  abort.addEventListener("abort", () => {
    for (const { id, flush } of [...timers.values()]) {
      clearTimeout(id);
      flush();
    }
    for (const stop of stops) stop();
  });
  const listen = (name: string, callback: () => void) => {
    model.on(`change:${name}`, callback);
    stops.push(() => model.off(`change:${name}`, callback));
  };

  const traits = {} as { [K in keyof Values]: Signal<Values[K]> };
  const put = <K extends keyof Values>(name: K, value: Values[K]) => {
    const s = traits[name] as Signal<Values[K]>;
    if (!equal(s.peek(), value)) s.value = value;
  };
  for (const name of Object.keys(DEFAULTS) as (keyof Values)[]) {
    (traits as Record<string, Signal<unknown>>)[name] = signal(read(model, name));
    listen(name, () => {
      if (!timers.has(name)) put(name, read(model, name)); // what the reader is still moving wins
    });
  }
  const messages = Object.fromEntries(
    MESSAGES.map((name) => {
      const message = signal(model.get(name));
      listen(name, () => {
        message.value = model.get(name);
      });
      return [name, message];
    }),
  ) as unknown as Traits["messages"];

  const write: Traits["write"] = (name, given, wait = 0) => {
    const value: typeof given = JSON.parse(JSON.stringify(given)); // without fields that are undefined, as the other side has it
    put(name, value);
    clearTimeout(timers.get(name)?.id);
    const flush = () => {
      timers.delete(name);
      if (equal(model.get(name), value)) return;
      model.set(name, value);
      model.save_changes();
    };
    if (wait > 0) timers.set(name, { id: setTimeout(flush, wait), flush });
    else flush();
  };
  return {
    traits,
    messages,
    offline: model.get("offline") === true,
    home: traits.target.peek(),
    write,
    setView: (patch, wait) => write("view", { ...traits.view.peek(), ...patch }, wait),
  };
}

/** A trait's value, or its default where the host has none that could be one. */
function read<K extends keyof Values>(model: HostModel, name: K): Values[K] {
  const value = model.get(name) as Values[K] | null | undefined;
  if (name === "view") return { ...DEFAULTS.view, ...(value as View) } as Values[K];
  if (name === "selection") return ((value as Selection | null)?.kind ? value : null) as Values[K];
  return value == null || (Array.isArray(DEFAULTS[name]) !== Array.isArray(value) && name !== "prompt") ? DEFAULTS[name] : value;
}
