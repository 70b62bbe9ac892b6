// The button that runs the passes behind an answer, and stops them; how far they are.
import type { Store } from "../store/store.js";
import * as words from "../words.js";

interface VerifyProps {
  store: Store;
  title?: string;
  done: number;
  all: number;
  text: string;
  begun?: () => void;
}

export function Verify({ store, title, done, all, text, begun }: VerifyProps) {
  const on = store.traits.verify.value;
  const act = () => {
    if (!on) begun?.();
    store.write("verify", !on);
  };
  return (
    <p class="note" role="status">
      {LIVE && !store.offline && done < all && (
        <button type="button" title={title} onClick={act}>
          {on ? words.stop : words.verify}
        </button>
      )}{" "}
      {done > 0 && `${words.progress(done, all)} ${text}`}
    </p>
  );
}
