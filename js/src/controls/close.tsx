// The small cross that closes a panel, a message or a selection.
import * as words from "../words.js";
import { Icon, IconButton } from "./icon.js";

export function Close({ act, title }: { act: () => void; title?: string }) {
  return (
    <IconButton name={words.close} kind="close" title={title} onClick={act}>
      <Icon d="M2 2l8 8M10 2l-8 8" />
    </IconButton>
  );
}
