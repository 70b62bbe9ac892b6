// The list of keys, and from it a tour: six steps on the prompt that is shown, each with its example opened beside it.
import { useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { Close } from "../controls/close.js";
import { placeOf } from "../core/graph.js";
import { named, type Selection, selectionOf } from "../core/select.js";
import { mainLine } from "../core/sentence.js";
import type { Store } from "../store/store.js";
import * as words from "../words.js";

export function Keys({ store, close }: { store: Store; close: () => void }) {
  const step = useSignal(-1); // of the tour; before it the keys
  const box = useRef<HTMLDivElement>(null);
  const at = step.value;
  const text = words.tour[at];
  useLayoutEffect(() => {
    if (text) {
      store.setView({ panel: true });
      store.setSelection(example(store, at));
    }
    box.current?.querySelector<HTMLElement>(".primary")?.focus();
  }, [at]);
  const leave = () => {
    box.current?.parentElement?.querySelector<HTMLElement>(".flow")?.focus();
    close();
  };
  const go = (by: number) => {
    step.value = Math.max(at + by, 0);
    if (step.peek() === words.tour.length) leave();
  };
  const pressed = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) go(by);
    else if (/^(Escape|\?)$/.test(event.key)) leave();
  };
  return (
    <div ref={box} class="pop keys-help" role="dialog" aria-label={text ? words.tourTitle : words.keysTitle} onKeyDown={pressed}>
      <h3>
        {text ? `${words.tourTitle} ${at + 1} / ${words.tour.length}` : words.keysTitle}
        <Close act={leave} />
      </h3>
      {text ? (
        <p role="status">{text}</p>
      ) : (
        <dl>
          {words.keys.map(([key, what]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      )}
      <button type="button" class="primary" onClick={() => go(1)}>
        {text ? words.next : words.tourTitle}
      </button>
    </div>
  );
}

/** What a step opens: nothing, the main line, its first head, a state half way up, all heads, nothing. */
function example(store: Store, step: number): Selection | null {
  const [g, routes] = [store.graph.peek(), store.routes.peek()];
  const edge = g && routes ? mainLine(g, routes) : -1;
  if (!g || step % 5 === 0) return null;
  if (step === 4) return { kind: "heads" };
  if (step === 3) return selectionOf(store.kinds, g, { kind: "node", node: (g.S >> 1) * g.T + store.target.peek() });
  if (edge < 0) return null;
  if (step === 1) return selectionOf(store.kinds, g, { kind: "edge", edge });
  const { state, pos: query } = placeOf(g, g.entered[edge]);
  return { kind: "head", state, head: g.head[edge], query, key: g.source[edge] % g.T, ...named(g, g.part[edge]) };
}
