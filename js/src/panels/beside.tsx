// The picture that was kept, above the present one, and the switch between both and their difference.
import { useLayoutEffect, useRef } from "preact/hooks";
import { Toggle } from "../controls/choice.js";
import { Close } from "../controls/close.js";
import { areAlike } from "../core/between.js";
import { nextToken, tokenText } from "../core/names.js";
import { roundPercent } from "../core/numbers.js";
import type { Store } from "../store/store.js";
import { besideView } from "../views/flow/beside.js";
import * as words from "../words.js";

export function Beside({ store }: { store: Store }) {
  const kept = store.kept.value;
  return kept ? <Kept key={kept.g.meta.run + kept.routes.target} store={store} /> : null;
}

function Kept({ store }: { store: Store }) {
  const box = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => besideView(box.current as HTMLElement, store), []);
  const [kept, g] = [store.kept.value, store.graph.value];
  if (!kept || !g) return null;
  const { target } = kept.routes;
  const next = nextToken(kept.g, target, 0);
  const named = kept.is_clean ? words.withoutEdits : words.before;
  const title = named(tokenText(kept.g, target), next ? `${next.text} ${roundPercent(next.p)}` : "");
  const on = store.comparing.value;
  return (
    <div class="beside" role="group" aria-label={words.beside}>
      <div class="beside-head note">
        <span title={kept.g.meta.prompt}>
          <b>{title}</b> {kept.g.meta.prompt}
        </span>
        {kept.is_clean ? null : areAlike(kept.g, g) ? (
          <Toggle on={on} text={words.difference} title={words.differenceTitle} act={() => (store.comparing.value = !on)} />
        ) : (
          <span class="muted">{words.otherPlaces}</span>
        )}
        <Close act={store.unkeep} />
      </div>
      <div ref={box} class="beside-flow">
        <canvas />
      </div>
    </div>
  );
}
