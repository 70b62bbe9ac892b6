// The page of `npm run dev`: the widget with saved data and no kernel, drawn anew whenever a source changes.
import { offlineModel } from "../src/host.js";
import widget from "../src/index.js";
import { KINDS } from "../src/panels/kinds.js";

// What is looked at outlives the reload, in the tab's own store: a change of the address could stop a reload on its way.
const KEPT = ["target", "encoding", "selection", "pins", "view"];

const changes = new EventSource("/esbuild");
changes.addEventListener("change", () => location.reload());
await new Promise((heard) => changes.addEventListener("open", heard, { once: true })); // nothing is drawn that no edit reaches

const saved = await (await fetch("analysis.json")).json();
const kept = JSON.parse(sessionStorage.getItem("kept") ?? "{}");
const model = await offlineModel({ ...saved, shown: { ...saved.shown, ...kept } }, KINDS);
for (const name of KEPT) {
  model.on(`change:${name}`, () => {
    const now = Object.fromEntries(KEPT.map((each) => [each, model.get(each)]));
    sessionStorage.setItem("kept", JSON.stringify(now));
  });
}
widget.render({ model, el: document.getElementById("page") as HTMLElement });
