// Synthetic graphs of any shape in the wire's bytes: realistic enough to look at, seeded so that tests repeat.
import { buildGraph, type Graph, type GraphMeta, type Part, type State } from "../src/core/graph.js";
import { type Container, pack, unpack } from "../src/wire.js";

export interface Shape {
  T: number;
  layers: number;
  block: "sequential" | "parallel" | "three" | "four" | "mixer";
  heads?: number;
  keys?: number; // attention edges kept per query, at most
  seed?: number;
  zero?: boolean; // every share is 0 and every node has ended
  truncated?: boolean; // a little mass cut at every node
  tokens?: string[];
  run?: string;
}

const STORY =
  "When ·Mary ·and ·John ·went ·to ·the ·store ·, ·John ·gave ·a ·drink ·of ·water ·to ·her ·friend ·because ·it ·had ·been ·raining ·all ·day ·and ·nobody ·wanted ·to ·walk ·home".split(
    " ",
  );

/** mulberry32 */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** float32 numbers as float16 bits, rounded to nearest. */
export function half(values: ArrayLike<number>): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const x = Math.max(0, values[i]);
    if (x === 0) continue;
    let exponent = Math.max(-14, Math.floor(Math.log2(x)));
    let fraction = Math.round((x / 2 ** exponent) * 1024);
    if (fraction >= 2048) {
      fraction = 1024;
      exponent++;
    }
    out[i] = fraction < 1024 ? fraction : ((exponent + 15) << 10) | (fraction - 1024);
  }
  return out;
}

export function tokensOf(T: number): string[] {
  return Array.from({ length: T }, (_, t) => (t < STORY.length ? STORY[t] : STORY[1 + ((t * 7) % (STORY.length - 1))]));
}

/** States and parts of a model with this kind of block. */
export function blocks(layers: number, block: Shape["block"], heads: number): { states: State[]; parts: Part[] } {
  const states: State[] = [{ layer: null, name: "embedding", carried: -1 }];
  const parts: Part[] = [];
  const part = (kind: Part["kind"], layer: number, state: number, reads: number) =>
    parts.push({ kind, layer, state, reads, label: `layers.${layer}.${kind}`, heads: kind === "attention" ? heads : null });
  for (let layer = 0; layer < layers; layer++) {
    const s = states.length;
    const add = (name: string) => states.push({ layer, name, carried: states.length - 1 });
    if (block === "parallel") {
      add("after layer");
      part("attention", layer, s, s - 1);
      part("mlp", layer, s, s - 1);
    } else if (block === "three") {
      add("after attention");
      add("after cross layer");
      add("after MLP");
      part("attention", layer, s, s - 1);
      part("attention", layer, s + 1, s - 1);
      part("mlp", layer, s + 2, s + 1);
    } else if (block === "four") {
      for (const name of ["after attention", "after first MLP", "after mixer", "after MLP"]) add(name);
      part("attention", layer, s, s - 1);
      part("mlp", layer, s + 1, s);
      part("mixer", layer, s + 2, s + 1);
      part("mlp", layer, s + 3, s + 2);
    } else {
      add(block === "mixer" && layer % 2 === 1 ? "after mixer" : "after attention");
      add("after MLP");
      part(block === "mixer" && layer % 2 === 1 ? "mixer" : "attention", layer, s, s - 1);
      part("mlp", layer, s + 1, s);
    }
  }
  return { states, parts };
}

export function graphBytes(shape: Shape): Uint8Array {
  const { T, layers, block, heads = 8, keys = 10, zero = false } = shape;
  const rand = random(shape.seed ?? 7);
  const text = shape.tokens ?? tokensOf(T);
  const { states, parts } = blocks(layers, block, heads);
  const S = states.length;
  const carried = new Float32Array(S * T);
  const truncated = new Float32Array(S * T);
  const ended = new Float32Array(S * T);
  const shares = parts.map(() => new Float32Array(T));
  const lists = parts.map(() => ({
    row: new Uint32Array(T + 1),
    key: [] as number[],
    sum: [] as number[],
    max: [] as number[],
    top: [] as number[],
  }));

  for (let s = 1; s < S; s++) {
    const here = parts.flatMap((p, k) => (p.state === s ? [k] : []));
    for (let t = 0; t < T; t++) {
      const amounts: { k: number; key: number; amount: number; spread: number }[] = [];
      let whole = 0;
      const push = (k: number, key: number, amount: number, spread = 1) => {
        amounts.push({ k, key, amount, spread });
        whole += amount;
      };
      push(-1, t, 0.62 + 0.5 * rand());
      for (const k of here) {
        if (parts[k].kind !== "attention") {
          push(k, t, (parts[k].layer === 0 ? 0.6 : 0.16) * (0.4 + 1.2 * rand()));
          continue;
        }
        const chosen = new Set<number>([t, 0]);
        if (t > 0) chosen.add(t - 1);
        while (chosen.size < Math.min(t + 1, keys)) chosen.add(Math.floor((t + 1) * rand() ** 1.3));
        for (const key of [...chosen].sort((a, b) => a - b)) {
          const sink = key === 0 ? 0.05 : 0;
          const near = key === t - 1 ? 0.06 * rand() : 0;
          push(k, key, sink + near + 0.16 * rand() ** 7 + 0.004 * rand(), 1 / heads + (1 - 1 / heads) * rand());
        }
      }
      const cut = shape.truncated ? 0.01 * whole : 0;
      whole += cut;
      if (zero) whole = Number.POSITIVE_INFINITY;
      truncated[s * T + t] = zero ? 0 : cut / whole;
      ended[s * T + t] = zero ? 1 : 0;
      for (const { k, key, amount, spread } of amounts) {
        if (k < 0) carried[s * T + t] = amount / whole;
        else if (parts[k].kind === "attention") {
          lists[k].key.push(key);
          lists[k].sum.push(amount / whole);
          lists[k].max.push((amount / whole) * spread);
          lists[k].top.push(Math.floor(heads * rand()));
        } else shares[k][t] = amount / whole;
      }
      for (const k of here) lists[k].row[t + 1] = lists[k].key.length;
    }
  }

  const vocab = ["·Mary", "·John", "·him", "·her", "·the", "·a", "·them"];
  const next = new Int32Array(T * 5);
  const p = new Float32Array(T * 5);
  for (let t = 0; t < T; t++) {
    let rest = 1;
    for (let r = 0; r < 5; r++) {
      next[5 * t + r] = (t + r + (t === T - 1 ? vocab.length - (t % vocab.length) : 0)) % vocab.length;
      p[5 * t + r] = rest * (r === 0 && t === T - 1 ? 0.97 : 0.3 + 0.3 * rand());
      rest -= p[5 * t + r];
    }
  }
  const meta: GraphMeta = {
    run: shape.run ?? `synthetic-${block}-${T}-${layers}`,
    prompt: text.join("").replaceAll("·", " "),
    tokens: {
      id: text.map((_, t) => 100 + 37 * t),
      text,
      raw: text.map((x) => x.replace("·", "Ġ")),
      bytes: text.map((x) =>
        [...new TextEncoder().encode(x.replace("·", " "))].map((b) => b.toString(16).padStart(2, "0")).join(""),
      ),
      special: text.map(() => false),
      role: text.map(() => null),
      char: text.map(() => null),
      part: text.map(() => null),
    },
    states,
    parts,
    vocab,
    model: { line: `llama ${layers}L ${heads}H`, name: "tiny-llama", type: "llama", layers, heads },
    fidelity: {
      text: "exact to 2e-7",
      exact: true,
      worst: 2e-7,
      dtype: "float32",
      problems: [],
      identities: {
        "parts add up to the next state": 2e-7,
        "heads add up to the attention write": 1.4e-7,
        "logits of the model": 0,
      },
    },
    smallest: 0,
  };
  const f16 = (data: ArrayLike<number>, ...dims: number[]) => ({ dtype: "float16", shape: dims, data: half(data) });
  const sections: Parameters<typeof pack>[2] = {
    carried: f16(carried, S, T),
    truncated: f16(truncated, S, T),
    ended: f16(ended, S, T),
    "next.token": { dtype: "int32", shape: [T, 5], data: next },
    "next.p": f16(p, T, 5),
  };
  parts.forEach((part, k) => {
    if (part.kind !== "attention") {
      sections[`p${k}.share`] = f16(shares[k], T);
      return;
    }
    const { row, key, sum, max, top } = lists[k];
    const n = key.length;
    sections[`p${k}.row`] = { dtype: "uint32", shape: [T + 1], data: row };
    sections[`p${k}.key`] = { dtype: "uint16", shape: [n], data: Uint16Array.from(key) };
    sections[`p${k}.sum`] = f16(zero ? sum.map(() => 0) : sum, n);
    sections[`p${k}.max`] = f16(zero ? max.map(() => 0) : max, n);
    sections[`p${k}.top`] = { dtype: "uint16", shape: [n], data: Uint16Array.from(top) };
  });
  return pack("graph", meta, sections);
}

export function graphOf(shape: Shape): Graph {
  return buildGraph(unpack<GraphMeta>(graphBytes(shape), "graph") as Container<GraphMeta>);
}

export const SHAPES: Shape[] = [
  { T: 7, layers: 3, block: "sequential", heads: 4 },
  { T: 5, layers: 3, block: "parallel" },
  { T: 6, layers: 2, block: "three", truncated: true },
  { T: 5, layers: 2, block: "four" },
  { T: 6, layers: 4, block: "mixer" },
  { T: 1, layers: 3, block: "sequential" },
];
