// What every answer of Python carries around what its kind says.
import type { Section } from "../wire.js";
import type { Selection } from "./select.js";

export interface Answer {
  kind: string;
  slot: "selection" | "pin" | "encoding" | "edits";
  index: number;
  question: Selection;
  error?: string;
  layer: number | null;
  effect_on: { token: Named; foil: Named | null; pos: number } | null; // null without a linear read-out
  normalised: boolean;
  maps: Record<string, Section>; // thumbs, pattern, contribution, strip
}

interface Named {
  id: number;
  text: string;
}
