// What the residual stream carries on from one state to the next.
import { kind, type Shown } from "../controls/kind.js";
import { Section } from "../controls/section.js";
import type { CarriedAnswer } from "../core/answers.js";
import { usual } from "../core/difference.js";
import { effectRows } from "../core/facts.js";
import { usualLines } from "../core/formula.js";
import { EdgeKind, placeOf } from "../core/graph.js";
import { tokenText } from "../core/names.js";
import { findEdge, type Selection } from "../core/select.js";

interface CarriedQuestion extends Selection {
  kind: "carried";
  state: number;
  pos: number;
}

const words = {
  title: (token: string) => `What was carried on unchanged at ${token}`,
  unchanged: "It is carried on unchanged.",
  steps: "On the way",
};

export default kind<CarriedQuestion, CarriedAnswer>({
  kind: "carried",
  noun: "residual line",
  needs: ["state", "pos"],
  item: (g, { state, pos }) => findEdge(g, state, (e) => g.kind[e] === EdgeKind.carried && placeOf(g, g.entered[e]).pos === pos),
  asked(g, item) {
    if (item.kind !== "edge" || g.kind[item.edge] !== EdgeKind.carried) return null;
    const { state, pos } = placeOf(g, g.entered[item.edge]);
    return { kind: "carried", state, pos };
  },
  title: (g, { pos }) => words.title(tokenText(g, pos)),
  figures: effectRows,
  Panel: CarriedPanel,
  explain: (answer) => usualLines(answer),
  compare: (answer) => usual(answer),
});

function CarriedPanel({ answer }: Shown<CarriedQuestion, CarriedAnswer>) {
  return (
    <>
      {answer.steps.length === 0 ? (
        <p class="note">{words.unchanged}</p>
      ) : (
        <Section title={words.steps}>
          <ol>
            {answer.steps.map((step) => (
              <li key={step} class="note">
                {step}
              </li>
            ))}
          </ol>
        </Section>
      )}
    </>
  );
}
