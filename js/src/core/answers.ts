// What Python answers to a selection (detail.py), as it arrives: columns, numbers, sentences; maps beside them.
import type { Answer } from "./answer.js";

export interface Tokens {
  id: number[];
  text: string[];
  score: number[];
  p?: number[];
  rank?: number[];
  change?: (number | null)[] | null; // rank before minus rank now: positive moved up
  also?: Tokens; // what only the answer it is compared with lists
}

export interface Update {
  promoted: Tokens;
  suppressed: Tokens;
  also?: Tokens; // what only the answer it is compared with lists
}

export interface Named {
  id: number;
  text: string;
}

export interface Summary {
  entropy: number; // nats
  kl: number; // KL(final || lens), nats
  final: Named & { p: number };
  settled: number | null; // the state from which the final answer stays on top
  on_top: boolean;
}

export interface Parts {
  kind: string[];
  part: (number | null)[];
  key: (number | null)[];
  share: number[];
  label: string[];
}

export interface StateAnswer extends Answer {
  kind: "state";
  state: number;
  pos: number;
  lens: Tokens | null;
  summary: Summary | null;
  update: Update | null;
  parts: Parts & { also?: Parts };
  rest: number;
}

export interface EdgeAnswer extends Answer {
  kind: "edge";
  state: number;
  query: number;
  key: number;
  part: number;
  share: number;
  heads: { head: number[]; share: number[]; attention: number[]; effect: (number | null)[] };
  thumb_max: number[];
}

interface Pair {
  pattern: number;
  contribution: number;
}

export interface HeadAnswer extends Answer {
  kind: "head";
  state: number;
  head: number;
  query: number;
  key: number | null;
  part: number;
  share: number;
  attention: number | null;
  effect: number | null; // of all keys
  effect_key: number | null;
  max: Pair;
  max_all: Pair;
  all: Update | null;
  this_key: Update | null;
  note?: string; // why something is not there
}

export type Expert = number | string | null;

export interface Neurons {
  neuron: number[];
  expert: Expert[];
  share: number[];
  value: number[];
  effect: (number | null)[];
}

export interface MlpAnswer extends Answer {
  kind: "mlp";
  state: number;
  pos: number;
  part: number;
  share: number;
  effect: number | null;
  n_neurons: number;
  neurons: Neurons & { also?: Neurons };
  experts: { expert: Expert[]; label: string[]; weight: number[]; share: number[] } | null;
  update: Update | null;
}

export interface NeuronAnswer extends Answer, Partial<Update> {
  kind: "neuron";
  state: number;
  pos: number;
  neuron: number;
  expert: Expert;
  part: number;
  value: number;
  gate: number | null;
  up: number | null;
  share: number;
  effect: number | null;
}

export interface CarriedAnswer extends Answer {
  kind: "carried";
  state: number;
  pos: number;
  share: number;
  from_state: number;
  steps: string[];
  effect: number | null;
}

export interface MixerAnswer extends Answer {
  kind: "mixer";
  state: number;
  pos: number;
  part: number;
  share: number;
  effect: number | null;
  update: Update | null;
  why: string;
}

export interface TokenAnswer extends Answer {
  kind: "token";
  pos: number;
  id: number;
  p: number | null; // of this token, given what came before
  rank: number | null;
  next: Tokens;
  also?: Tokens; // next tokens that only the answer it is compared with lists
}
