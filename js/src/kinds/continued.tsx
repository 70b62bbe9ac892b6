// What the model goes on to say with the edits of the picture, and without them: text only.
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import { Verify } from "../controls/verify.js";
import type { ContinuedAnswer } from "../core/answers.js";
import type { Selection } from "../core/select.js";
import * as words from "../words.js";

interface ContinuedQuestion extends Selection {
  kind: "continued";
}

const own = { title: "What it goes on to say", before: "Without edits", tokens: "tokens" };

export default kind<ContinuedQuestion, ContinuedAnswer>({
  kind: "continued",
  noun: "continuation",
  needs: [],
  title: () => own.title,
  name: () => words.regenerate,
  Panel: ({ store, answer }: Shown<ContinuedQuestion, ContinuedAnswer>) => {
    const done = Math.max(answer.before.length, answer.after.length);
    return (
      <>
        <Tokens title={words.edited} texts={answer.after} />
        <Tokens title={own.before} texts={answer.before} />
        <Verify store={store} done={done} all={answer.ended ? done : answer.n_tokens} text={own.tokens} />
      </>
    );
  },
});

const Tokens = ({ title, texts }: { title: string; texts: string[] }) => (
  <Section title={title}>
    <ul class="chips">
      {texts.map((text, i) => (
        <li class="chip mono" key={i}>
          {text}
        </li>
      ))}
    </ul>
  </Section>
);
