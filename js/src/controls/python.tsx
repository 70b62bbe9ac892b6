// A button that copies the line of Python for the numbers beside it.
import * as words from "../words.js";
import { ByHand, useCopy } from "./copy.js";
import { IconButton } from "./icon.js";

export function PythonLine({ line }: { line: string }) {
  const { copy, copied, by_hand } = useCopy();
  return (
    <>
      <IconButton name={words.pythonLine} kind="python" title={`${words.pythonLine}\n${line}`} onClick={() => copy(line)}>
        {copied.value ? "✓" : "</>"}
      </IconButton>
      {by_hand.value && <ByHand text={by_hand.value} />}
    </>
  );
}
