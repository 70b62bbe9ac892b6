// Buttons that are one stop of the Tab order; arrows walk them.
import { useLayoutEffect, useRef } from "preact/hooks";
import { walkAmong } from "./walk.js";

/** Handlers for the element in `box`; its buttons may come and go. */
export function useRoving(box: { current: HTMLElement | null }) {
  const at = useRef<HTMLElement | null>(null);
  const buttons = () => [...(box.current?.querySelectorAll<HTMLElement>("button:not(.pop *)") ?? [])];
  const settle = () => {
    const all = buttons();
    const stop = at.current && all.includes(at.current) ? at.current : all[0];
    for (const button of all) button.tabIndex = button === stop ? 0 : -1;
  };
  useLayoutEffect(settle);
  return {
    onFocusIn(event: FocusEvent) {
      if (!buttons().includes(event.target as HTMLElement)) return;
      at.current = event.target as HTMLElement;
      settle();
    },
    onKeyDown(event: KeyboardEvent) {
      walkAmong(event, buttons(), { ArrowLeft: -1, ArrowRight: 1, Home: -1e6, End: 1e6 });
    },
  };
}
