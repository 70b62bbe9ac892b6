// The row of the prompt: which one is shown, a line to type another, the model, how far it is.
import { useLayoutEffect, useRef } from "preact/hooks";
import { canonical } from "../core/json.js";
import type { Store } from "../store/store.js";
import type { Prompt } from "../store/traits.js";
import type { FlowView } from "../views/flow/flow.js";
import * as words from "../words.js";
import { Menu } from "./menu.js";

export function PromptLine({ store, view }: { store: Store; view: () => FlowView | null }) {
  const { prompts, prompt, status } = store.traits;
  const input = useRef<HTMLInputElement>(null);
  const shown = label(prompt.value, store.graph.value?.meta.prompt);
  const running = status.value.state === "running";
  const typed = useRef<string | null>(null);
  const state = status.value.state;
  useLayoutEffect(() => {
    // A prompt that was refused stays in the line to be mended; the picture and the trait keep the old one.
    if (input.current) input.current.value = state === "error" && typed.current !== null ? typed.current : shown;
    if (state === "idle") typed.current = null;
  }, [shown, state]);
  const submit = (event: Event) => {
    event.preventDefault();
    const text = input.current?.value ?? "";
    if (text.trim() === "" || store.offline) return;
    if (typeof prompt.value !== "string" && text === shown) return;
    typed.current = text;
    store.write("prompt", text);
  };
  const index = prompts.value.findIndex((p) => canonical(p) === canonical(prompt.value));
  return (
    <form class="row prompt-line" onSubmit={submit}>
      {prompts.value.length > 1 && (
        <label class="select prompts" title={words.prompts(index + 1, prompts.value.length)}>
          <select
            aria-label={words.prompts(index + 1, prompts.value.length)}
            value={String(index)}
            onChange={(event) => store.write("prompt", prompts.value[Number(event.currentTarget.value)])}
          >
            {prompts.value.map((p, i) => (
              <option key={i} value={String(i)}>
                {i === index ? `${i + 1} / ${prompts.value.length}` : `${i + 1}. ${label(p).slice(0, 90)}`}
              </option>
            ))}
          </select>
        </label>
      )}
      <input
        ref={input}
        class="prompt"
        type="text"
        dir="auto"
        aria-label={words.prompt}
        placeholder={words.promptHint}
        spellcheck={false}
        autocomplete="off"
        readOnly={store.offline}
        title={store.offline ? words.offline : undefined}
      />
      {!store.offline && (
        <button type="submit" class="primary run" disabled={running}>
          {running ? words.running : words.run}
        </button>
      )}
      <ModelLine store={store} />
      <Menu store={store} view={view} />
      <Progress store={store} />
    </form>
  );
}

function label(prompt: Prompt, shown?: string): string {
  if (!Array.isArray(prompt)) return String(prompt);
  if (shown) return shown;
  if (prompt.length > 0 && typeof prompt[0] === "object") {
    const last = prompt[prompt.length - 1] as { content: string };
    return `${words.chat}: ${last.content}`;
  }
  return words.ids(prompt.length);
}

/** Name and exactness; each opens the panel about the model. */
function ModelLine({ store }: { store: Store }) {
  const g = store.graph.value;
  if (!g) return null;
  const { model, fidelity } = g.meta;
  const on = store.about.value;
  const toggle = () => {
    store.about.value = !on;
    if (!on) store.setView({ panel: true });
  };
  const notes = [words.fidelity, ...fidelity.problems].join("\n");
  return (
    <>
      <button
        type="button"
        class="model-line"
        title={`${words.aboutModel}: ${model.name ?? model.line}`}
        aria-pressed={on}
        onClick={toggle}
      >
        {model.line}
      </button>
      <button type="button" class={`badge ${fidelity.exact ? "" : "doubtful"}`} title={notes} aria-pressed={on} onClick={toggle}>
        <svg width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">
          {fidelity.exact ? <path d="M1.5 5.4 4 7.8 8.5 2.4" /> : <path d="M5 1v5M5 8.2v.6" />}
        </svg>
        {fidelity.text}
      </button>
    </>
  );
}

function Progress({ store }: { store: Store }) {
  const { state, text, done, total } = store.traits.status.value;
  if (state !== "running") return null;
  const bar = useRef<HTMLDivElement>(null);
  const known = total > 1;
  useLayoutEffect(() => {
    if (bar.current) bar.current.style.width = known ? `${Math.round((100 * done) / total)}%` : "";
  }, [done, total, known]);
  return (
    <div
      class={`progress ${known ? "" : "unknown"}`}
      role="progressbar"
      aria-label={text || words.running}
      aria-valuenow={known ? done : undefined}
      aria-valuemax={known ? total : undefined}
    >
      <div ref={bar} class="progress-bar" />
    </div>
  );
}
