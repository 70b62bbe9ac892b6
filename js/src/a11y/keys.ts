// Which keys pressed inside the widget are kept from the host, which listens for them on the way up.

const EDITING = /^([acvxyz]|arrow\w+|home|end|backspace|delete|insert|enter)$/i; // with Ctrl or Cmd in a field

export const isCommand = (event: KeyboardEvent): boolean => event.ctrlKey || event.metaKey || event.altKey;

/** Whether it is meant for a field. */
export function isTyped(event: KeyboardEvent): boolean {
  return (event.composedPath()[0] as Element).matches("input[type=text], textarea, select");
}

/** What the widget has used, what is typed, and plain keys, which a notebook in its command mode would take for commands. */
export function isOurs(event: KeyboardEvent): boolean {
  if (event.defaultPrevented) return true;
  if (isCommand(event)) return isTyped(event) && EDITING.test(event.key);
  return !/^F\d+$/.test(event.key);
}
