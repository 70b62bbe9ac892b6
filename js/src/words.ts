// Every string a reader can see.

export const prompt = "Prompt";
export const promptHint = "Type a prompt and press Enter";
export const run = "Run";
export const running = "Running";
export const prompts = (i: number, n: number) => `Prompts, ${i} of ${n} shown`;
export const offline = "No model is behind this picture: prompts cannot be run here.";
export const notSaved = "The details of this were not saved with it.";
export const nothingSaved = "There is no saved prompt in this page.";
export const pageBroken = "This page is damaged: what was saved in it cannot be read.";
export const chat = "chat";
export const ids = (n: number) => `${n} token ids`;

export const picture = "Picture";
export const explain = "Explain";
export const explainTitle = "The token explained (or click one under the picture)";
export const threshold = "Threshold";
export const thresholdTitle = "Edges weaker than this are hidden";
export const automatic = "Auto";
export const automaticTitle = (flow: boolean) => (flow ? "Draw about 80 attention edges" : "The papers' threshold of 4%");
export const edges = (n: string) => `${n} ${n === "1" ? "edge" : "edges"}`;
export const edgesTitle = "Attention edges drawn";
export const carries = (share: string) => `carries ${share}`;
export const carriesTitle = "How much of the target's state reaches tokens through drawn lines alone";
export const encoding = "Line width";
export const flow = "flow";
export const flowTitle = "Shares multiplied along paths from the target";
export const share = "share";
export const shareTitle = "How much of its own state each line accounts for";
export const reading = "Heads";
export const max = "max";
export const maxTitle = "A line passes when one head alone is above the threshold";
export const sum = "sum";
export const sumTitle = "A line passes when its heads together are above the threshold";
export const renormalise = "renorm.";
export const renormaliseTitle = "Divide lines that pass by their sum at each state; Python's renormalize() drops single heads";
export const fold = "Fold";
export const foldTitle = "Fold token columns that no drawn line touches";
export const fit = "Fit";
export const fitTitle = "Show everything (0)";
export const fullscreen = "Full screen";
export const panelToggle = "Side panel";
export const help = "Keys";
export const menu = "More";

export const saveSvg = "Save as SVG";
export const savePng = "Save as PNG";
export const saveJson = "Save as JSON";
export const copyPython = "Copy the Python for this view";
export const copied = "Copied";
export const copyByHand = "Copying is blocked here. Select the text and copy it:";
export const theme = "Theme";
export const themes = { auto: "auto", light: "light", dark: "dark" };
export const close = "Close";

export const attention = "attention";
export const residual = "residual";
export const mlp = "MLP";
export const mixer = "mixer (ends)";
export const legendFlow = "Flow multiplies shares along paths from the target; it is bookkeeping, not a causal effect.";
export const legendShare = "A share is how much of its state a line accounts for; a state's shares add up to 100%.";
export const legendRenormalised = "Shares of the drawn lines, divided by their sum at every state.";
export const widthIs = (what: string) => `width = ${what}`;

export const howTitle = "How to read this";
export const how = [
  "Columns are tokens, rows are states from embedding to last layer; ▼ marks the one explained.",
  "A line says how much of the state above came from below: by attention, an MLP, or carried on.",
  "Follow thick lines down from ▼ to the tokens that mattered. Hover to read, click to look inside.",
];
export const nextTitle = (token: string) => `The model's next token after ${token}`;
export const wordsTitle = "Where the target's state comes from";
export const routesTitle = "Strongest lines";
export const edge = "line";
export const filter = "Filter: john l2 h3";
export const find = "Find";
export const findTitle = "Find a token or a head (/)";
export const findHint = "John, 3, l2 h6";
export const found = (n: number, first: string) => `${n} found: ${first}`;
export const foundNothing = (n_layers: number, n_heads: number) =>
  `Nothing found. Tokens by text or number${n_heads ? `, heads as l0 h0 to l${n_layers - 1} h${n_heads - 1}` : ""}.`;
export const linesOf = (n: number) => (n === 0 ? "no line drawn" : n === 1 ? "1 line" : `${n} lines`);
export const endedTitle = "ended on the way";
export const endedBy = {
  mixer: "at mixers",
  truncated: "in lines too weak to send",
  constants: "in constants",
  "no parts": "at states nothing enters",
};
export const hoverEmpty = "Hover the picture to read a state, a line or a token here.";
export const hoverKeys = "Keys: arrows walk, Enter selects, t sets the target, ? lists all.";
export const waiting = "waiting for the kernel";
export const back = "Back";
export const crumbs = "Selections, newest last";
export const selectionGone = "The selection is not part of this picture.";

export const kinds = {
  state: "State",
  attention: "Attention",
  residual: "Residual stream",
  mlp: "MLP",
  mixer: "Mixer",
  other: "Part",
  token: "Token",
};
export const titles = {
  state: (state: string, token: string) => `What made up ${state} at ${token}`,
  attention: (key: string, query: string) => `What ${query} took from ${key}`,
  carried: (token: string) => `What was carried on unchanged at ${token}`,
  mlp: (part: string, token: string) => `What ${part} wrote at ${token}`,
  mixer: (part: string, token: string) => `What ${part} wrote at ${token}`,
  token: (token: string) => `The token ${token}`,
};
export const facts = {
  flow: "flow to target",
  share: "share of its state",
  ofDrawn: "share, renormalised",
  head: "strongest head",
  headOf: (head: number, share: string) => `H${head} · ${share}`,
  from: "from",
  to: "into",
  says: "lens says",
  predicts: "next token",
  id: "token id",
  raw: "vocabulary entry",
  bytes: "bytes",
  character: "part of",
  part: (char: string, k: number, n: number) => `${char} (${k} of ${n})`,
  role: "role",
  inputShare: "input share",
  position: "position",
};
export const carriedOn = "carried on";

export const inputs = "input";
export const live = {
  graph: (tokens: number, layers: string, target: string) =>
    `Information flow routes: ${tokens} tokens, ${layers}. Explaining ${target}.`,
  targetIs: (token: string) => `Explaining ${token}`,
  flow: (share: string) => `flow ${share}`,
  share: (share: string) => `share ${share}`,
  opened: (name: string) => `Selected ${name}`,
  closed: "Selection closed",
};
export const graphLabel = "Arrow keys walk states and tokens; press question mark for all keys.";
export const resize = "Height of the widget";
export const keysTitle = "Keys in the picture";
export const keys = [
  ["← → ↑ ↓", "walk tokens and states"],
  ["Shift →", "enter the MLP"],
  [", .", "walk incoming lines by weight"],
  ["f", "follow the line to its source"],
  ["Enter", "select, look inside"],
  ["t", "make this token the target"],
  ["p", "pin the selection"],
  ["/", "find a token or a head"],
  ["Esc", "back"],
  ["+ − 0", "zoom in, out, fit"],
  ["Ctrl wheel", "zoom; drag to move"],
];

export const empty = "Nothing recorded.";
export const emptyHint = "Type a prompt and press Enter.";
export const errorTitle = "The widget could not be drawn";
export const errorHint =
  "Run the cell again or reload the page. If it stays, update the browser, or report this with what doctor() prints:";
export const noCanvas = "the browser gives no canvas to draw on";
export const unknownError = "an unknown error";
export const fidelity = "How exact the decomposition is";
export const problems = "Problems";
export const notes = "Notes";
export const progress = (done: number, total: number) => `${done} of ${total}`;
export const layers = (n: number) => (n === 1 ? "1 layer" : `${n} layers`);

// The panel's answers.

export const pin = "Pin";
export const pinTitle = "Keep this beside what is selected next (p)";
export const unpin = "Unpin";
export const pinnedIs = (name: string) => `Pinned: ${name}`;
export const compareHint = (kind: string) => `Select another ${kind} to compare.`;
export const more = (n: number) => `${n} more`;
export const fewer = "Fewer";
export const explainIt = "How is this computed?";
export const rank = "rank";
export const token = "token";
export const probability = "probability";
export const score = "score";
export const scoreTitle = "Logit, before the softmax";
export const change = "change";
export const changeTitle = "Ranks gained ▲ or lost ▼ since the state before";
export const moved = (n: number) => (n > 0 ? `up ${n}` : n < 0 ? `down ${-n}` : "same rank");
export const lensTitle = "What the model would say here";
export const lensCaption = (state: string, token: string) => `Logit lens at ${state}, ${token}`;
export const normalise = "Normalise";
export const normaliseTitle = "Apply the final norm before reading states as tokens";
export const noReadout = "Without a linear read-out nothing can be read as tokens.";
export const settled = (token: string, p: string, since: string, on_top: boolean) =>
  `The final answer ${token} (${p}) is ${on_top ? "" : "not "}on top here; it stays there from ${since}.`;
export const unsettled = (token: string, p: string) => `The lens never settles on the final answer ${token} (${p}).`;
export const uncertainty = (entropy: string, kl: string) => `Entropy ${entropy} nats, ${kl} nats from the final prediction.`;
export const promoted = "Promoted";
export const suppressed = "Suppressed";
export const updateTitle = (what: string) => `What ${what} added`;
export const theBlock = "the block before";
export const theHead = "this head";
export const theNeuron = "this neuron";
export const thePart = (kind: string) => `this ${kind}`;
export const mixerPart = "mixer";
export const partsTitle = "Made from";
export const part = "part";
export const shareOf = "share";
export const ownKey = (token: string) => `${token} (itself)`;
export const rest = (n: string) => `The remaining parts together: ${n}.`;
export const headsTitle = "Heads on this edge";
export const head = "head";
export const attentionTo = "attention";
export const attentionTitle = "The weight this query gives this key, after the softmax";
export const effect = "effect";
export const effectTitle = (tokens: string) => `Direct effect on the logit of ${tokens}`;
export const minus = (token: string, foil: string) => `${token} minus that of ${foil}`;
export const effectsOn = "Effects on ";
export const foil = "minus";
export const foilHint = "another token";
export const foilTitle = "Type another token and press Enter, empty for none";
export const patternsTitle = "Attention patterns of all heads";
export const headName = (head: number) => `Head ${head}`;
export const pattern = "Attention";
export const patternTitle = "Attention of every query (row) to every key (column)";
export const contribution = "Contribution";
export const contributionTitle = "Share of every key (column) in the state of its query (row)";
export const difference = "Difference";
export const mapsTitle = "Where it looks";
export const enlarge = "Show this map alone, or both";
export const range = "Colour range";
export const ownRange = "this head";
export const sharedRange = "all heads";
export const mapKeys = "Arrow keys move the cross-hair, Enter opens the cell.";
export const cell = (query: string, key: string) => `${query} ← ${key}`;
export const allKeys = "all keys";
export const thisKey = (key: string) => `only ${key}`;
export const keysOf = "Keys";
export const neuronsTitle = (shown: number, all: string) => `Neurons by share, ${shown} of ${all}`;
export const neuron = "neuron";
export const activation = "activation";
export const activationTitle = "Value just before the down projection";
export const expertsTitle = "Experts that saw this token";
export const expert = "expert";
export const weight = "weight";
export const stripTitle = "Its activation at every token";
export const gate = "gate";
export const up = "up";
export const gated = (gate: boolean, up: boolean) =>
  `The gate is ${gate ? "positive" : "negative"} and up is ${up ? "positive" : "negative"}, so the activation is ${
    gate === up ? "positive" : "negative"
  }${gate ? "" : " and small: the gate is closed"}.`;
export const carriedFrom = "carried from";
export const unchanged = "It is carried on unchanged.";
export const steps = "On the way";
export const prior = (p: string, rank: number) => `The model gave this token ${p} (rank ${rank}).`;
export const first = "Nothing came before it.";
export const nextTokens = "What the model says comes next";
export const titlesOf = {
  head: (head: number, layer: string, query: string, key: string | null) =>
    `What head ${head} of ${layer} moved to ${query}${key === null ? "" : ` from ${key}`}`,
  neuron: (neuron: number, expert: number | string | null, part: string, token: string) => {
    const of = expert === null ? "" : typeof expert === "number" ? `expert ${expert} of ` : `the ${expert} expert of `;
    return `What neuron ${neuron} of ${of}${part} wrote at ${token}`;
  },
  model: (line: string) => `The model: ${line}`,
};
export const modelFacts: Record<string, string> = {
  name: "name",
  type: "class",
  layers: "layers",
  heads: "heads",
  kv_heads: "key-value heads",
  d_model: "d_model",
  d_mlp: "d_mlp",
  vocab: "vocabulary",
  parameters: "parameters",
  dtype: "dtype",
  device: "device",
  attention: "attention",
};
export const aboutModel = "About this model";
export const compare = "Compare";
export const kindOf: Record<string, string> = {
  state: "state",
  edge: "attention line",
  head: "head",
  mlp: "MLP",
  neuron: "neuron",
  carried: "residual line",
  mixer: "mixer",
  token: "token",
};
export const differenceCaption = {
  figures: "Figures",
  effect: "Direct effect",
  lens: "Lens: probability of each token",
  update: "Added to each token's logit",
  parts: "Shares of its parts",
  heads: "Shares of the heads",
  effects: "Direct effects",
  neurons: "Shares of the neurons",
  values: "Activations of the neurons",
  next: "Probability of each next token",
};
export const pinnedSide = "pinned";
export const thisSide = "this";
export const figureNames: Record<string, string> = {
  share: "share",
  attention: "attention",
  entropy: "entropy (nats)",
  kl: "KL to final (nats)",
  effect: "direct effect",
  effect_key: "of this key alone",
  value: "activation",
  gate: "gate",
  up: "up",
  "carried ": "carried on",
  "mlp ": "MLP",
  "mixer ": "mixer",
};
export const otherLength = "Maps are compared for prompts of the same length only.";
export const answerFailed = "Python could not answer:";

/** The formula behind a panel, with the numbers of the case at hand. */
export const formula = {
  share: (share: string) =>
    `A part z of a state y has prox = max(0, |y|₁ − |y − z|₁). Its share is that over the sum for all parts: ${share}.`,
  heads: (shares: string, sum: string) => `A line adds up its heads: ${shares} = ${sum}.`,
  effect: (effect: string, token: string) =>
    `The direct effect, ${effect}, is what the vector adds to the logit of ${token}, not what later layers do.`,
  lens: (score: string, p: string, token: string, normalised: boolean) =>
    `The state ${normalised ? "after the final norm " : ""}times the unembedding gives ${token} the score ${score}, by softmax ${p}.`,
  change: (token: string, before: number, now: number) => `${token} had rank ${before} in the state before, now ${now}.`,
  update: (token: string, score: string) => `These tokens read only what was added: ${score} for ${token}.`,
  maps: (attention: string, share: string) =>
    `Attention is the weight a query gives a key (${attention}); contribution is the share of weight × value in the query's state (${share}).`,
  neuron: (value: string, share: string) =>
    `A neuron writes activation × output row: its tokens have the sign of ${value}. Its share, ${share}, is among single neurons; an MLP's is not their sum.`,
  gated: (gate: string, up: string, value: string) => `Activation = act(${gate}) × ${up} = ${value}.`,
  next: (p: string, token: string) => `The softmax of the logits here gives ${token} ${p}.`,
};
