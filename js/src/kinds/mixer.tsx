// A mixer: a write without a key axis, at which routes end.
import { kind, type Shown } from "../controls/kind.js";
import { UpdateSection } from "../controls/update.js";
import type { MixerAnswer } from "../core/answers.js";
import { usual } from "../core/difference.js";
import { effectRows } from "../core/facts.js";
import { usualLines } from "../core/formula.js";
import { partName, tokenText } from "../core/names.js";
import { named, partOf, type Selection, squareAt, squareItem } from "../core/select.js";
import * as words from "../words.js";

interface MixerQuestion extends Selection {
  kind: "mixer";
  state: number;
  pos: number;
  part?: number;
}

const PARTS = ["mixer", "other"] as const;

export default kind<MixerQuestion, MixerAnswer>({
  kind: "mixer",
  noun: "mixer",
  needs: ["state", "pos"],
  parts: PARTS,
  item: (g, question) => squareItem(g, PARTS, question),
  asked(g, item) {
    const at = squareAt(g, item);
    if (!at || g.meta.parts[at.part].kind === "mlp") return null;
    return { kind: "mixer", state: at.state, pos: at.pos, ...named(g, at.part) };
  },
  title: (g, question) => words.wrote(partName(g, partOf(g, PARTS, question)), tokenText(g, question.pos)),
  figures: effectRows,
  Panel: MixerPanel,
  explain: (answer) => usualLines(answer, answer.update),
  compare: (answer) => usual(answer, answer.update),
});

function MixerPanel({ answer }: Shown<MixerQuestion, MixerAnswer>) {
  return (
    <>
      <p class="how">{answer.why}</p>
      <UpdateSection what={words.thisPart("mixer")} update={answer.update} />
    </>
  );
}
