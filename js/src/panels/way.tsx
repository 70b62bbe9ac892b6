// Back and forward over all that the reader changed.
import { Icon, IconButton } from "../controls/icon.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

export function Way({ store }: { store: Store }) {
  const step = (name: string, keys: string, path: string, can: boolean, act: () => void) => (
    <IconButton name={name} title={`${name} (${keys})`} disabled={!can} onClick={act}>
      <Icon d={path} />
    </IconButton>
  );
  return (
    <span class="way" role="group" aria-label={words.way}>
      {step(words.wayBack, "Alt ←", "M8 2 4 6l4 4", store.has_back.value, store.goBack)}
      {step(words.wayForward, "Alt →", "m4 2 4 4-4 4", store.has_forward.value, store.goForward)}
    </span>
  );
}
