// The list of keys.
import { Close } from "../controls/close.js";
import * as words from "../words.js";

export function Keys({ close }: { close: () => void }) {
  return (
    <div class="pop keys-help" role="dialog" aria-label={words.keysTitle}>
      <h3>
        {words.keysTitle}
        <Close act={close} />
      </h3>
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
    </div>
  );
}
