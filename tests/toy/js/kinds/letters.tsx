// A toy kind of question: how many letters a token has.
import { kind, type Shown } from "../../../../js/src/controls/kind.js";
import { Section } from "../../../../js/src/controls/section.js";
import type { Answer } from "../../../../js/src/core/answer.js";
import { numbers } from "../../../../js/src/core/difference.js";
import { figureRows } from "../../../../js/src/core/facts.js";
import { tokenName } from "../../../../js/src/core/names.js";
import type { Selection } from "../../../../js/src/core/select.js";

interface LettersQuestion extends Selection {
  kind: "letters";
  pos: number;
}

interface LettersAnswer extends Answer {
  kind: "letters";
  pos: number;
  letters: number;
}

export default kind<LettersQuestion, LettersAnswer>({
  kind: "letters",
  noun: "token's letters",
  needs: ["pos"],
  item: (_, { pos }) => ({ kind: "token", pos }),
  title: (g, { pos }) => `How long ${tokenName(g, pos)} is`,
  name: (g, { pos }) => `letters ${tokenName(g, pos)}`,
  figures: ({ letters }) => figureRows(["letters", letters, String]),
  Panel: Letters,
  explain: ({ letters }) => [`Counted one by one: ${letters}.`],
  compare: ({ letters }) => numbers("Lengths", "number", { letters }),
});

function Letters({ answer }: Shown<LettersQuestion, LettersAnswer>) {
  return (
    <Section title="Letter by letter">
      <p class="letters">{"x".repeat(answer.letters)}</p>
    </Section>
  );
}
