// What a key does in the graph: pure, from the present cursor to the next one or to an action.
import { EdgeKind, edgesInto, type Graph, placeOf } from "../../core/graph.js";
import type { Routes } from "../../core/routes.js";
import type { Item } from "../../core/select.js";

export type Action =
  | { do: "move"; to: Item }
  | { do: "select" | "target"; item: Item }
  | { do: "pin" | "cut" | "undo" | "back" | "zoom-in" | "zoom-out" | "fit" | "help" };

export interface KeyPress {
  key: string;
  shiftKey: boolean;
}

/** The action for a key press, or null when the graph does not use that key. */
export function keyAction(g: Graph, routes: Routes, cursor: Item | null, press: KeyPress): Action | null {
  const at = cursor ?? { kind: "node" as const, node: (g.S - 1) * g.T + routes.target };
  switch (press.key) {
    case "Escape":
      return { do: "back" };
    case "+":
    case "=":
      return { do: "zoom-in" };
    case "-":
    case "_":
      return { do: "zoom-out" };
    case "0":
      return { do: "fit" };
    case "?":
      return { do: "help" };
    case "p":
      return { do: "pin" };
    case "x":
      return { do: "cut" };
    case "u":
      return { do: "undo" };
    case "Enter":
    case " ":
      return { do: "select", item: at };
    case "t":
      return { do: "target", item: { kind: "token", pos: posOf(g, at) } };
    case "f":
      return at.kind === "edge" ? move(g.source[at.edge]) : null;
    case ",":
    case ".":
      return alongIncoming(g, routes, at, press.key === "." ? 1 : -1);
    case "ArrowLeft":
    case "ArrowRight":
    case "ArrowUp":
    case "ArrowDown":
      return cursor || press.shiftKey ? walk(g, at, press) : { do: "move", to: at };
    default:
      return null;
  }
}

const move = (node: number): Action => ({ do: "move", to: { kind: "node", node } });

function posOf(g: Graph, item: Item): number {
  if (item.kind === "token") return item.pos;
  return placeOf(g, item.kind === "edge" ? g.entered[item.edge] : item.node).pos;
}

function walk(g: Graph, at: Item, { key, shiftKey }: KeyPress): Action | null {
  if (at.kind === "token") {
    if (key === "ArrowUp") return move(at.pos);
    const pos = at.pos + (key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0);
    return pos >= 0 && pos < g.T ? { do: "move", to: { kind: "token", pos } } : null;
  }
  const { state, pos, part } = placeOf(g, at.kind === "edge" ? g.entered[at.edge] : at.node);
  if (key === "ArrowRight" && shiftKey && part < 0) return intoSquare(g, state, pos);
  if (part >= 0 && key === "ArrowLeft") return move(state * g.T + pos);
  const next_pos = pos + (key === "ArrowRight" ? 1 : key === "ArrowLeft" ? -1 : 0);
  const next_state = state + (key === "ArrowUp" ? 1 : key === "ArrowDown" ? -1 : 0);
  if (next_state < 0) return { do: "move", to: { kind: "token", pos } };
  if (next_pos < 0 || next_pos >= g.T || next_state >= g.S) return null;
  return move(next_state * g.T + next_pos);
}

/** The square whose part enters this state, else the one that reads it. */
function intoSquare(g: Graph, state: number, pos: number): Action | null {
  const parts = g.meta.parts;
  for (const is of [(k: number) => parts[k].state === state, (k: number) => parts[k].reads === state]) {
    const q = g.squares.findIndex(is);
    if (q >= 0) return move((g.S + q) * g.T + pos);
  }
  return null;
}

function alongIncoming(g: Graph, routes: Routes, at: Item, step: number): Action | null {
  if (at.kind === "token") return null;
  const entered = at.kind === "edge" ? g.entered[at.edge] : at.node;
  const edges = edgesInto(g, entered)
    .filter((e) => g.kind[e] !== EdgeKind.read)
    .sort((a, b) => routes.flow[b] - routes.flow[a] || g.share_sum[b] - g.share_sum[a]);
  if (edges.length === 0) return null;
  const i = at.kind === "edge" ? edges.indexOf(at.edge) + step : step > 0 ? 0 : edges.length - 1;
  return { do: "move", to: { kind: "edge", edge: edges[(i + edges.length) % edges.length] } };
}
