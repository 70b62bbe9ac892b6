// Text for the clipboard, and where that is blocked for copying by hand.
import { useSignal } from "@preact/signals";
import * as words from "../words.js";

const SAID = 1200; // ms for which it stands that it was copied

export function useCopy() {
  const copied = useSignal(false);
  const by_hand = useSignal("");
  const copy = async (text: string) => {
    try {
      await navigator.clipboard.writeText(text);
      copied.value = true;
      setTimeout(() => {
        copied.value = false;
      }, SAID);
    } catch {
      by_hand.value = text;
    }
  };
  return { copy, copied, by_hand };
}

export function ByHand({ text }: { text: string }) {
  return (
    <label class="by-hand">
      {words.copyByHand}
      <textarea readOnly rows={6} value={text} onFocus={(event) => event.currentTarget.select()} />
    </label>
  );
}
