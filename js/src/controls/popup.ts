// What pops up under a button: open and closed, and closed by a click elsewhere.

import type { Signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

/** Focuses what `first` selects in `box` once it is open; a click outside closes it; a focus that was in it goes back. */
export function usePopup(open: Signal<boolean>, box: { current: HTMLElement | null }, first: string): void {
  useLayoutEffect(() => {
    const around = box.current;
    if (!open.value || !around) return;
    const before = focused(around) ?? around.querySelector("button");
    const outside = (event: Event) => {
      if (!event.composedPath().includes(around)) open.value = false;
    };
    document.addEventListener("pointerdown", outside, true);
    around.querySelector<HTMLElement>(first)?.focus();
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      if (!focused(around)) before?.focus();
    };
  }, [open.value]);
}

/** The focused element among those around `el`, also inside a shadow root. */
export function focused(el: Element): HTMLElement | null {
  return (el.getRootNode() as ShadowRoot).activeElement as HTMLElement | null;
}
