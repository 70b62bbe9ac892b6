// Whether what is drawn is enough: how much of the log odds the drawn lines and squares keep by themselves.
import { kind, type Shown } from "../controls/kind.js";
import { Verify } from "../controls/verify.js";
import type { EnoughAnswer } from "../core/answers.js";
import { figureRows } from "../core/facts.js";
import { figure, percent } from "../core/numbers.js";
import type { Selection } from "../core/select.js";
import * as words from "../words.js";

interface EnoughQuestion extends Selection {
  kind: "enough";
}

const own = {
  title: "Is what is drawn enough?",
  alone: (lines: number, squares: number, off: string) =>
    `${lines} lines and ${squares} squares alone, the rest at its ${off}: log odds kept`,
  kept: "patterns made anew",
  frozen: "patterns frozen",
  random: "as many at random",
  little: (nats: string) => `Nothing to lose: ${nats} nats at stake.`,
  passes: "passes",
};

const kept = (x: number) => `${Math.round(100 * x)}%`; // never clamped

export default kind<EnoughQuestion, EnoughAnswer>({
  kind: "enough",
  noun: "set of lines",
  needs: [],
  title: () => own.title,
  name: () => words.enough,
  Panel: ({ store, answer }: Shown<EnoughQuestion, EnoughAnswer>) => (
    <>
      <p class="how">{own.alone(answer.n_lines, answer.n_squares, answer.off)}</p>
      {answer.nothing_to_lose && <p class="how">{own.little(figure(answer.at_stake as number))}</p>}
      <Verify store={store} done={answer.passes} all={answer.n_passes} text={own.passes} />
    </>
  ),
  figures: (a) =>
    figureRows(
      [own.kept, a.nothing_to_lose ? null : a.kept, kept],
      [own.frozen, a.nothing_to_lose ? null : a.kept_frozen, kept],
      [own.random, a.nothing_to_lose ? null : a.kept_random, kept],
      [words.probability, a.p, (p) => `${percent(a.p_before)} → ${percent(p)}`],
    ),
});
