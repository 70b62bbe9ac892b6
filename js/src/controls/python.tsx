// One line of Python for the numbers of a panel, to copy.
import { useSignal } from "@preact/signals";
import * as words from "../words.js";
import { IconButton } from "./icon.js";

export function PythonLine({ line }: { line: string }) {
  const said = useSignal<"" | "copied" | "by hand">("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(line);
      said.value = "copied";
    } catch {
      said.value = "by hand";
    }
  };
  return (
    <>
      <IconButton name={words.pythonLine} kind="python" title={`${words.pythonLine}\n${line}`} onClick={copy}>
        {said.value === "copied" ? "✓" : "</>"}
      </IconButton>
      {said.value === "by hand" && (
        <input
          type="text"
          class="mono"
          readOnly
          aria-label={words.copyByHand}
          value={line}
          onFocus={(event) => event.currentTarget.select()}
        />
      )}
    </>
  );
}
