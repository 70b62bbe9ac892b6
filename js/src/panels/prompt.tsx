// The row of the prompt: which one is shown, a line to type another, the model, how far it is.
import { useLayoutEffect, useRef } from "preact/hooks";
import { Icon } from "../controls/icon.js";
import { canonical } from "../core/json.js";
import type { Store } from "../store/store.js";
import type { Prompt } from "../store/traits.js";
import type { FlowView } from "../views/flow/flow.js";
import * as words from "../words.js";
import { Menu } from "./menu.js";
import { Way } from "./way.js";

export function PromptLine({ store, view }: { store: Store; view: () => FlowView | null }) {
  const { prompts, prompt, status } = store.traits;
  const running = status.value.state === "running";
  const form = useRef<HTMLFormElement>(null);
  const submit = (event: Event) => {
    event.preventDefault();
    if (!LIVE || store.offline) return;
    const text = form.current?.querySelector("textarea")?.value ?? "";
    const unchanged = typeof prompt.value !== "string" && text === captionOf(store);
    if (text.trim() !== "" && !running && !unchanged) store.write("prompt", text);
  };
  const index = prompts.value.findIndex((p) => canonical(p) === canonical(prompt.value));
  return (
    <form ref={form} class="row prompt-line" onSubmit={submit}>
      <Way store={store} />
      {prompts.value.length > 1 && (
        <label class="select prompts" title={words.prompts(index + 1, prompts.value.length)}>
          <select
            aria-label={words.prompts(index + 1, prompts.value.length)}
            value={String(index)}
            onChange={(event) => store.write("prompt", prompts.value[Number(event.currentTarget.value)])}
          >
            {prompts.value.map((p, i) => (
              <option key={i} value={String(i)}>
                {i === index ? `${i + 1} / ${prompts.value.length}` : `${i + 1}. ${promptLabel(p).slice(0, 90)}`}
              </option>
            ))}
          </select>
        </label>
      )}
      <PromptBox store={store} run={() => form.current?.requestSubmit()} />
      {LIVE && !store.offline && (
        <button type="submit" class="primary run" disabled={running}>
          {running ? words.running : words.run}
        </button>
      )}
      <ModelLine store={store} />
      <Menu store={store} view={view} />
    </form>
  );
}

/** A line to type a prompt in, over the picture where it takes several. */
function PromptBox({ store, run }: { store: Store; run: () => void }) {
  const box = useRef<HTMLTextAreaElement>(null);
  const caption = captionOf(store);
  const run_shown = store.graph.value?.meta.run;
  useLayoutEffect(() => {
    const el = box.current as HTMLTextAreaElement;
    el.value = caption; // not when a prompt was refused: it stays to be mended
    if (el.matches(":focus")) grow(el); // otherwise it is one line high, and need not be measured
  }, [caption, run_shown]);
  const keys = (event: KeyboardEvent & { currentTarget: HTMLTextAreaElement }) => {
    if (event.key === "Escape") event.currentTarget.value = caption;
    else if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    else run();
    event.preventDefault();
    grow(event.currentTarget);
  };
  return (
    <span class="prompt-box">
      <textarea
        ref={box}
        class="prompt"
        rows={1}
        dir="auto"
        aria-label={words.prompt}
        placeholder={words.promptHint}
        spellcheck={false}
        autocomplete="off"
        readOnly={store.offline}
        title={store.offline ? words.offline : undefined}
        onKeyDown={keys}
        onInput={(event) => grow(event.currentTarget)}
        onFocus={(event) => grow(event.currentTarget)}
        onBlur={(event) => grow(event.currentTarget)}
      />
    </span>
  );
}

/** As high as its text while it has the focus, one line otherwise. */
function grow(el: HTMLTextAreaElement): void {
  el.style.height = "";
  if (el.matches(":focus")) el.style.height = `${el.scrollHeight + 2}px`;
  else el.scrollTo(0, 0);
}

/** The prompt of the picture; before there is one, that of the trait. */
const captionOf = (store: Store) => store.graph.value?.meta.prompt ?? promptLabel(store.traits.prompt.value);

export function promptLabel(prompt: Prompt): string {
  if (!Array.isArray(prompt)) return String(prompt);
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
        <Icon size={10} d={fidelity.exact ? "M1.5 5.4 4 7.8 8.5 2.4" : "M5 1v5M5 8.2v.6"} />
        {fidelity.text}
      </button>
    </>
  );
}
