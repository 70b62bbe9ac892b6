// The page without a kernel: the widget with what was saved, nothing fetched.

import { offlineModel } from "./host.js";
import widget from "./index.js";
import { KINDS } from "./panels/kinds.js";
import * as words from "./words.js";

const root = document.documentElement;
root.classList.toggle("framed", window.parent !== window);

async function show(el: HTMLElement): Promise<void> {
  const model = await offlineModel(JSON.parse(document.getElementById("analysis")?.textContent ?? ""), KINDS);
  const dress = () => {
    const { theme } = model.get("view") as { theme: string };
    for (const name of ["light", "dark"]) root.classList.toggle(name, theme === name);
  };
  model.on("change:view", dress);
  dress();
  widget.render({ model, el });
}

const el = document.getElementById("page") as HTMLElement;
show(el).catch((error) => {
  el.textContent = words.pageBroken;
  console.error(error);
});
