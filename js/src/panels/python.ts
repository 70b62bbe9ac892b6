// The Python that recreates what is on screen; no DOM.
import { equal } from "../core/json.js";
import type { Selection } from "../core/select.js";
import type { Store } from "../store/store.js";
import { DEFAULTS } from "../store/traits.js";

/** A JSON value as a Python literal. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string")
    return JSON.stringify(value)
      .replace(/\u2028/g, "\\u2028")
      .replace(/\u2029/g, "\\u2029");
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return `{${Object.entries(value as object)
    .map(([k, v]) => `${literal(k)}: ${literal(v)}`)
    .join(", ")}}`;
}

/** One line that gives the numbers of an answer, of the widget's run. */
export function pythonOfAnswer(store: Store, question: Selection): string {
  const { target, traits: t } = store;
  const options = [`target=${target.value}`];
  for (const name of ["token", "foil"] as const) {
    const one = t[name].value;
    const id = typeof one === "string" ? `widget.run.model.token_id(${literal(one.replace(/·/g, " "))})` : literal(one);
    if (one !== null && one !== "") options.push(`${name}=${id}`);
  }
  if (!t.normalise.value) options.push("normalise=False");
  return `lmtt_widget.answers.answer(widget.run, widget.opened.graph, ${literal(question)}, ${options.join(", ")})`;
}

// Models that are in no hub and in no folder of the reader's, by their names.
const BUNDLED = new Map([
  ["lmtt-bundled", ""],
  ["lmtt-stories", '"stories"'],
]);

const OPTIONS = [
  "encoding",
  "reading",
  "renormalise",
  "normalise",
  "threshold",
  "token",
  "foil",
  "selection",
  "pins",
  "edits",
] as const;

/** Loads the model again and gives its explorer all that is not as it is at first. */
export function python(store: Store): string {
  const t = store.traits;
  const options = [`target=${store.target.peek()}`];
  for (const name of OPTIONS) {
    const value = t[name].peek();
    if (!equal(value, DEFAULTS[name])) options.push(`${name}=${literal(value)}`);
  }
  const name = store.graph.peek()?.meta.model.name;
  const own = BUNDLED.get(name ?? "");
  const load = own === undefined ? `load_model(${literal(name ?? "your-model")})` : `bundled_model(${own})`;
  return [
    `from lmtt_widget import explore, ${load.replace(/\(.*/, "")}`,
    "",
    `model = ${load}`,
    `explore(model, ${literal(t.prompt.peek())}, ${options.join(", ")})`,
    "",
  ].join("\n");
}
