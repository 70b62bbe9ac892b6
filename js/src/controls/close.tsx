// The small cross that closes a panel, a message or a selection.
import * as words from "../words.js";

export function Close({ act, title }: { act: () => void; title?: string }) {
  return (
    <button type="button" class="icon close" aria-label={words.close} title={title} onClick={act}>
      <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
        <path d="M2 2l8 8M10 2l-8 8" />
      </svg>
    </button>
  );
}
