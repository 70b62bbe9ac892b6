// What Python answers to each kind of question; written by `python tools/make_answers.py`.
import type { Answer } from "./answer.js";
import type { Selection } from "./select.js";

export interface Tokens {
  id: number[];
  text: string[];
  score: number[];
  p?: number[];
  rank?: number[];
  change?: number[]; // rank before minus rank now: positive moved up
  also?: Tokens; // what only the answer it is compared with lists
}

export interface CarriedAnswer extends Answer {
  kind: "carried";
  state: number;
  pos: number;
  share: number;
  from_state: number;
  steps: string[]; // in words: the norms and factors it went through
  effect: number | null;
}

export interface ContinuedAnswer extends Answer {
  kind: "continued";
  n_tokens: number; // to be generated; fewer where both end before
  before: string[]; // the tokens so far, without the edits
  after: string[]; // with them
  ended: boolean;
}

export interface Turned {
  prompt: unknown[];
  how: string[];
  odds: number[]; // log odds of the token against the foil, in nats
}

export interface ContrastAnswer extends Answer {
  kind: "contrast";
  odds_before: number | null; // None where no prompt could be made
  turned: Turned;
}

export interface Judged extends Answer {
  p_before: number;
  p: number;
  odds_before: number; // nats, against the foil; without one log p / (1 - p)
  odds: number;
  kl: number; // nats
  moved: Tokens; // the tokens whose probability changed most, and by how much
}

export interface CutAnswer extends Judged {
  kind: "cut";
  state: number;
  query: number;
  key: number | null;
  head: number | null;
  neuron: number | null;
  part: number;
  odds_mean: number; // where its mean over the prompt stands instead of nothing
}

export interface Heads {
  head: number[];
  share: number[];
  attention: number[];
  effect: (number | null)[];
}

export interface EdgeAnswer extends Answer {
  kind: "edge";
  state: number;
  query: number;
  key: number;
  part: number;
  share: number;
  heads: Heads;
  thumb_max: number[]; // what 255 stands for in each
  pattern_max: number;
}

export interface ChangedHeads {
  part: number[];
  state: number[];
  head: number[];
  before: number[];
  effect: number[];
}

export interface EditsAnswer extends Judged {
  kind: "edits";
  heads: ChangedHeads | null; // None without a linear read-out
}

export interface EnoughAnswer extends Answer {
  kind: "enough";
  off: string; // what stands in place of everything else: "mean"
  n_lines: number;
  n_squares: number;
  passes: number; // that are done
  n_passes: number;
  at_stake: number | null; // nats between the whole model and nothing; None where that pass was not made yet
  nothing_to_lose: boolean;
  kept: number | null; // of what is at stake, patterns of the pass that is left; so all below
  kept_frozen: number | null; // every head with the pattern it had in the whole model
  kept_random: number | null; // as many lines and squares, drawn by chance
  p_before: number;
  p: number | null; // of the token, with only these
}

export interface Pair {
  pattern: number;
  contribution: number;
}

export interface Update {
  promoted: Tokens;
  suppressed: Tokens;
  also?: Tokens; // what only the answer it is compared with lists
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
  max_all: Pair; // over all heads
  all: Update | null;
  this_key: Update | null;
  note?: string; // why something is not there
}

export interface HeadTable {
  part: number[];
  state: number[];
  head: number[];
  share: number[]; // of the explained state, along all paths
  effect: (number | null)[]; // direct, on the token explained, minus the foil's
  estimate: (number | null)[]; // change of the log odds without the head, to first order
  exact: (number | null)[]; // the same by passes without it; None where it was not tried yet
  previous: (number | null)[];
  first: (number | null)[];
  duplicate: (number | null)[];
  induction: (number | null)[];
}

export interface OtherTable {
  part: number[];
  state: number[];
  effect: number[];
}

export interface HeadsAnswer extends Answer {
  kind: "heads";
  table: HeadTable;
  others: OtherTable;
  total: number | null; // the logit itself, minus the foil's; None without a linear read-out
  rest: number | null; // of the total: the embedding, constants, the read-out's own bias
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

export interface Neurons {
  neuron: number[];
  expert: (number | string | null)[];
  share: number[];
  value: number[];
  effect: (number | null)[];
  also?: Neurons; // what only the answer it is compared with lists
}

export interface Experts {
  expert: (number | string | null)[];
  label: string[];
  weight: (number | null)[];
  share: number[];
}

export interface MlpAnswer extends Answer {
  kind: "mlp";
  state: number;
  pos: number;
  part: number;
  share: number;
  effect: number | null;
  update: Update | null;
  n_neurons: number;
  neurons: Neurons;
  experts: Experts | null;
}

export interface Cases {
  count: number[];
  value: number[]; // the activation that is largest in size
  at: number[]; // the token where it is; -1 where the case was never seen
  similarity: number[] | null;
  suggests: string[]; // what the last two suggest
}

export interface NeuronAnswer extends Answer {
  kind: "neuron";
  state: number;
  pos: number;
  neuron: number;
  expert: number | string | null;
  part: number;
  value: number;
  gate: number | null;
  up: number | null;
  share: number;
  effect: number | null;
  cases?: Cases; // of a neuron with a gate
  promoted?: Tokens;
  suppressed?: Tokens;
  also?: Tokens; // what only the answer it is compared with lists
}

export interface Askers {
  name: string[];
  value: number[];
  opens: (Selection | null)[]; // None where there is nothing to show
}

export interface AskedPairs {
  asked: string[];
  answered: string[];
  value: number[];
  opens: (Selection | null)[]; // what answered
}

export interface ReasonsAnswer extends Answer {
  kind: "reasons";
  state: number;
  head: number;
  query: number;
  key: number;
  part: number;
  attention: number;
  score: number; // before the softmax
  average: number; // score of the keys that the query may look at
  position: number; // of the difference: what position, mask and sinks add
  asked: Askers;
  answered: Askers;
  pairs: AskedPairs;
  capped: boolean; // the model bends the score before the softmax
}

export interface Parts {
  kind: string[];
  part: (number | null)[];
  key: (number | null)[];
  share: number[];
  label: string[];
  also?: Parts; // what only the answer it is compared with lists
}

export interface Named {
  id: number;
  text: string;
}

export interface Final extends Named {
  p: number;
}

export interface Summary {
  entropy: number; // nats
  kl: number; // KL(final || lens), nats
  final: Final;
  settled: number | null; // the state from which the final answer stays on top
  on_top: boolean;
}

export interface StateAnswer extends Answer {
  kind: "state";
  state: number;
  pos: number;
  name: string;
  parts: Parts;
  rest: number; // the shares of the parts that are not listed
  update: Update | null;
  lens: Tokens | null;
  summary: Summary | null;
}

export interface TokenAnswer extends Answer {
  kind: "token";
  pos: number;
  id: number;
  raw: string;
  bytes: string; // in hexadecimal
  text: string;
  special: boolean;
  role: string | null;
  p: number | null; // of this token, given what came before
  rank: number | null;
  next: Tokens;
  also?: Tokens; // next tokens that only the answer it is compared with lists
}

export interface Writers {
  part: number[];
  state: number[];
  number: number[]; // of the neuron or head in its part
  expert: (number | string | null)[];
  score: number[]; // logits for each unit of a neuron's activation; of a head for values of length 1
}

export interface WordAnswer extends Answer {
  kind: "word";
  word: Named;
  promoting: Writers;
  suppressing: Writers;
  heads: Writers;
}
