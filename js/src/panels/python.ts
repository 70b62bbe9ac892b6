// The Python that recreates what is on screen; no DOM.
import type { Store } from "../model.js";

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

export function python(store: Store): string {
  const t = store.traits;
  const options = [`target=${store.target.peek()}`];
  const threshold = t.threshold.peek();
  if (threshold !== null) options.push(`threshold=${threshold}`);
  if (t.encoding.peek() !== "flow") {
    options.push(`encoding="share"`, `reading=${literal(t.reading.peek())}`);
    if (t.renormalise.peek()) options.push("renormalise=True");
  }
  const selection = t.selection.peek();
  if (selection) options.push(`selection=${literal(selection)}`);
  const name = store.graph.peek()?.meta.model.name;
  return [
    "from lmtt_widget import explore, load_model",
    "",
    `model = load_model(${literal(name ?? "your-model")})`,
    `explore(model, ${literal(t.prompt.peek())}, ${options.join(", ")})`,
    "",
  ].join("\n");
}
