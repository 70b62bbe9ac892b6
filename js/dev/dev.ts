// The page of `npm run dev`: the widget with saved data and no kernel, drawn anew whenever a source changes.
import { offlineModel } from "../src/host.js";
import widget from "../src/index.js";
import { KINDS } from "../src/panels/kinds.js";

// What is looked at outlives the reload.
const KEPT = ["target", "encoding", "selection", "pins", "view"];

const saved = await (await fetch("analysis.json")).json();
const kept = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
const model = await offlineModel({ ...saved, shown: { ...saved.shown, ...kept } }, KINDS);
for (const name of KEPT) {
  model.on(`change:${name}`, () => {
    const now = Object.fromEntries(KEPT.map((each) => [each, model.get(each)]));
    history.replaceState(null, "", `#${encodeURIComponent(JSON.stringify(now))}`);
  });
}
widget.render({ model, el: document.getElementById("page") as HTMLElement });
new EventSource("/esbuild").addEventListener("change", () => location.reload());
