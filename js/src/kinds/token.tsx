// A token: what the model had given it, and what it says comes next.
import { kind, type Shown } from "../controls/kind.js";
import { Lens } from "../controls/lens.js";
import { Section } from "../controls/section.js";
import type { TokenAnswer } from "../core/answers.js";
import { tokens } from "../core/difference.js";
import { tokenText, visible } from "../core/names.js";
import { percent } from "../core/numbers.js";
import type { Selection } from "../core/select.js";
import { nextTokens } from "../words.js";

interface TokenQuestion extends Selection {
  kind: "token";
  pos: number;
}

const words = {
  title: (token: string) => `The token ${token}`,
  prior: (p: string, rank: number) => `The model gave this token ${p} (rank ${rank}).`,
  first: "Nothing came before it.",
  next: (p: string, token: string) => `The softmax of the logits here gives ${token} ${p}.`,
  compareNext: "Probability of each next token",
};

export default kind<TokenQuestion, TokenAnswer>({
  kind: "token",
  noun: "token",
  needs: ["pos"],
  item: (_, { pos }) => ({ kind: "token", pos }),
  asked: (_, item) => (item.kind === "token" ? { kind: "token", pos: item.pos } : null),
  title: (g, { pos }) => words.title(tokenText(g, pos)),
  Panel: TokenPanel,
  explain: ({ next }) => (next.text.length ? [words.next(percent(next.p?.[0] ?? 0), visible(next.text[0]))] : []),
  compare: ({ next, also }) => tokens(words.compareNext, { ...next, also }),
});

function TokenPanel({ store, answer: { p, rank, next } }: Shown<TokenQuestion, TokenAnswer>) {
  return (
    <>
      <p class="how">{p === null || rank === null ? words.first : words.prior(percent(p), rank + 1)}</p>
      <Section title={nextTokens}>
        <Lens store={store} lens={next} caption={nextTokens} />
      </Section>
    </>
  );
}
