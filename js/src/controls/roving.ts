// Buttons that are one stop of the Tab order; arrows walk them.
import { useLayoutEffect, useRef } from "preact/hooks";

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
      const all = buttons();
      const now = all.indexOf(event.target as HTMLElement);
      const last = all.length - 1;
      const to = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: last }[event.key];
      if (now < 0 || to === undefined) return;
      event.preventDefault();
      all[Math.max(0, Math.min(last, to))].focus();
    },
  };
}
