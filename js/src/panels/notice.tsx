// What went wrong, in words, over the picture so that nothing jumps; the old picture stays.
import { useSignal } from "@preact/signals";
import { Close } from "../controls/close.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

export function Notice({ store }: { store: Store }) {
  const hidden = useSignal("");
  const { state, text, done, total } = store.traits.status.value;
  const problem = store.problem.value ?? (state === "error" ? text : store.silent.value ? words.silent : null);
  if (problem && problem !== hidden.value) {
    return (
      <div class="notice error" role="alert">
        <span>{problem}</span>
        <Close act={() => (hidden.value = problem)} />
      </div>
    );
  }
  if (!LIVE || state !== "running") return null;
  const known = total > 1;
  return (
    <div class="notice" role="status">
      <span>{text || words.running}</span>
      <progress aria-label={text || words.running} max={total} value={known ? done : undefined} />
      {known && <span class="number">{words.progress(done, total)}</span>}
    </div>
  );
}
