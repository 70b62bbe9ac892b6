// One polite live region that speaks the sentence the tooltip shows.
import { effect, type Signal } from "@preact/signals";

/** An invisible region in `el` that speaks `said` once it has rested for a moment. */
export function liveRegion(el: ParentNode, said: Signal<string>, abort: AbortSignal): void {
  const region = document.createElement("div");
  region.className = "unseen";
  region.setAttribute("role", "status");
  region.setAttribute("aria-live", "polite");
  el.append(region);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = effect(() => {
    const text = said.value;
    clearTimeout(timer);
    timer = setTimeout(() => {
      region.textContent = text;
    }, 150);
  });
  abort.addEventListener("abort", () => {
    clearTimeout(timer);
    stop();
    region.remove();
  });
}
