// Every sentence of the map of a survey.

export interface Cell {
  value: number | null;
  low: number;
  high: number;
  chance: number | null;
  apart: boolean | null;
}

export const score = "Score";
export const heads = "head";
export const layer = (name: number | null) => `L${name ?? "?"}`;
export const save = "Save the map as";
export const scale = (most: number) => `Colour: 0 to ${round(most)}`;
export const nothing = "No such head.";
export const grey = "Grey: no different from chance, all heads together.";
export const noChance = "What chance would give is not known for this score.";
export const examples = (at: string) => `Prompts in which head ${at} stands out`;
export const noExamples = "Examples of this head are not in this page; open the survey in a notebook.";
export const waiting = "Looking for examples …";
export const choose = "Choose a head to see prompts in which it stands out.";
export const opens = "Open it in the flow widget";

const round = (x: number) => (Math.abs(x) >= 100 ? x.toFixed(0) : x.toPrecision(3));

export function counted(name: string, prompts: number, queries: number | null, duplicates: number, refused: number): string {
  const of = queries === null ? "" : `${queries} queries of `;
  const less = `${duplicates ? `, ${duplicates} duplicates left out` : ""}${refused ? `, ${refused} refused` : ""}`;
  return `${name}: ${of}${prompts} prompts${less}`;
}

export function said(at: string, cell: Cell): string {
  if (cell.value === null) return nothing;
  const chance = cell.chance === null ? "" : `, chance ${round(cell.chance)}${cell.apart ? "" : " (no different from it)"}`;
  return `Head ${at}: ${round(cell.value)}, 95 % interval ${round(cell.low)} to ${round(cell.high)}${chance}`;
}
