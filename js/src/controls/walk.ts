// Arrow keys that walk a row or a list of elements.

/** Focuses the element so many places on from the one that has the focus, where `steps` knows the key. */
export function walkAmong(event: KeyboardEvent, elements: HTMLElement[], steps: Record<string, number>): void {
  const [step, at] = [steps[event.key], elements.indexOf(event.target as HTMLElement)];
  if (!step || at < 0) return;
  event.preventDefault();
  elements[Math.max(0, Math.min(elements.length - 1, at + step))].focus();
}

export const buttonsIn = (el: EventTarget | null): HTMLElement[] => [
  ...((el as Element | null)?.querySelectorAll<HTMLElement>("button") ?? []),
];

/** Up and down move among the buttons inside. */
export function walk(event: KeyboardEvent): void {
  walkAmong(event, buttonsIn(event.currentTarget), { ArrowDown: 1, ArrowUp: -1, Home: -1e6, End: 1e6 });
}
