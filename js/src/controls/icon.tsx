// Buttons without a word on them: a drawing or a sign, and its name for those who cannot see it.
import type { ButtonHTMLAttributes } from "preact";

/** Strokes in a square of so many px. */
export function Icon({ d, size = 12 }: { d: string; size?: number }) {
  return (
    <svg width={size} height={size} viewBox={`0 0 ${size} ${size}`} aria-hidden="true">
      <path d={d} />
    </svg>
  );
}

export function IconButton({ name, kind = "", ...more }: { name: string; kind?: string } & ButtonHTMLAttributes) {
  return <button type="button" class={`icon ${kind}`} aria-label={name} title={name} {...more} />;
}

/** A question mark that opens an explanation. */
export function Why({ name, open, act }: { name: string; open: boolean; act: () => void }) {
  return (
    <IconButton name={name} kind="why-button" aria-expanded={open} onClick={act}>
      ?
    </IconButton>
  );
}
