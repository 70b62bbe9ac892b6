// What stands where an answer will.
import { useSignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import * as words from "../words.js";

/** A skeleton after 120 ms, words after a second; never a time-out. */
export function Waiting() {
  const stage = useSignal(0);
  useLayoutEffect(() => {
    const timers = [120, 1000].map((ms, i) =>
      setTimeout(() => {
        stage.value = i + 1;
      }, ms),
    );
    return () => timers.forEach(clearTimeout);
  }, []);
  return (
    <div class="waiting" aria-busy="true">
      {stage.value > 0 && [0, 1, 2, 3].map((i) => <div class="bone" key={i} />)}
      {stage.value > 1 && <p class="note">{words.waiting}</p>}
    </div>
  );
}
