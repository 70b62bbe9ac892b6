// Prompts that turn the answer round, each shown beside the present picture.
import { kind, type Shown } from "../controls/kind.js";
import { Signed, Table } from "../controls/table.js";
import type { ContrastAnswer } from "../core/answers.js";
import { equal } from "../core/json.js";
import { largest, signedText } from "../core/numbers.js";
import type { Selection } from "../core/select.js";
import type { Prompt } from "../store/traits.js";
import * as words from "../words.js";

interface ContrastQuestion extends Selection {
  kind: "contrast";
}

const own = {
  title: "The same prompt with the words swapped",
  hint: (odds: string) => `Log odds here ${odds}. A prompt stands beside this picture, coloured by what differs.`,
  none: "Neither word is in the prompt: type a prompt with another word in its place.",
  prompt: "prompt",
  odds: "log odds",
};

export default kind<ContrastQuestion, ContrastAnswer>({
  kind: "contrast",
  noun: "contrast",
  needs: [],
  title: () => own.title,
  name: () => words.swapWords,
  Panel: ContrastPanel,
});

function ContrastPanel({ store, answer }: Shown<ContrastQuestion, ContrastAnswer>) {
  const { odds_before, turned } = answer;
  const isThere = (prompt: Prompt) => !store.offline || store.traits.prompts.value.some((one) => equal(one, prompt));
  return (
    <>
      {odds_before === null ? (
        <p class="note">{own.none}</p>
      ) : (
        <>
          <p class="how">{own.hint(signedText(odds_before))}</p>
          <Table
            store={store}
            caption={own.title}
            n={turned.how.length}
            name={(i) => turned.how[i]}
            pick={(i) => {
              const prompt = turned.prompt[i] as Prompt;
              return isThere(prompt) ? () => store.holdAgainst(prompt) : null;
            }}
            columns={[
              { head: own.prompt, left: true, cell: (i) => turned.how[i] },
              { head: own.odds, cell: (i) => <Signed value={turned.odds[i]} of={largest([odds_before, ...turned.odds])} /> },
            ]}
          />
        </>
      )}
    </>
  );
}
