// Every string a reader can see.

export const prompt = "Prompt";
export const promptHint = "Type a prompt and press Enter";
export const run = "Run";
export const running = "Running";
export const prompts = (i: number, n: number) => `Prompts, ${i} of ${n} shown`;
export const offline = "No model is behind this picture: prompts cannot be run here.";
export const notSaved = "The details of this were not saved with it.";
export const savedAre = (token: string) => `Saved are those on the way to ${token} and to the words it came from.`;
export const goThere = (token: string) => `Explain ${token}`;
export const nothingSaved = "There is no saved prompt in this page.";
export const pageBroken = "This page is damaged: what was saved in it cannot be read.";
export const chat = "chat";
export const ids = (n: number) => `${n} token ids`;

export const picture = "Picture";
export const explain = "Explain";
export const explainTitle = "The token explained (or click one under the picture)";
export const threshold = "Threshold";
export const thresholdTitle = "Lines weaker than this are hidden";
export const automatic = "Auto";
export const enough = "enough?";
export const enoughTitle = "Run the model with the drawn lines alone, and say how much of the answer they keep";
export const keeps = (share: string) => `keeps ${share}`;
export const verify = "Verify";
export const stop = "Stop";
export const lines = (n: string) => `${n} ${n === "1" ? "line" : "lines"}`;
export const linesTitle = "Attention lines drawn";
export const only = "only";
export const ofThePath = "of the path";
export const shown = "shown";
export const showMore = "show more";
export const shownTitle = "How much of what could reach a token does so through drawn lines alone";
export const nothingToFollow = "no path to a token";
export const encoding = "Line width";
export const flow = "flow";
export const share = "share";
export const fold = "Fold";
export const foldTitle = "Fold token columns that no drawn line touches";
export const heads = "Heads";
export const headsTitle = "All heads: share, effect, and what kind of head each is";
export const fit = "Fit";
export const fitTitle = "Show everything (0)";
export const fullscreen = "Full screen";
export const panelToggle = "Side panel";
export const help = "Keys";
export const menu = "More";

export const figure = "Figure…";
export const figureSize = "Size";
export const sizes: Record<string, string> = {
  screen: "as shown",
  column: "column",
  page: "page",
  slide: "slide",
  post: "1200 × 675",
};
export const asShown = "As large as on screen";
export const withSelection = "selection";
export const withLegend = "legend";
export const withCaption = "caption";
export const svg = "Save SVG";
export const png = "Save PNG";
export const pdf = "PDF…";
export const pdfTitle = "Print on a page of this size: choose Save as PDF";
export const toClipboard = "Copy";
export const copyCsv = "Copy as CSV"; // a table, as it is shown
export const asSvg = "As SVG";
export const copyBlocked = "Copying is blocked here";
export const figureCaption = (prompt: string, target: string, next: string | null, model: string) =>
  `Information flow to ${target} in "${prompt}"${next ? `, after which ${next} comes next` : ""}; ${model}.`;
export const pythonLine = "Copy the Python for these numbers";
export const saveSvg = "Save as SVG";
export const savePng = "Save as PNG";
export const saveJson = "Save as JSON";
export const copyPython = "Copy the Python for this view";
export const copied = "Copied";
export const copyByHand = "Copying is blocked here. Select the text and copy it:";
export const theme = "Theme";
export const textSize = "Size";
export const close = "Close";

export const attention = "attention";
export const residual = "residual";
export const mlp = "MLP";
export const mixer = "mixer (ends)";
export const widthIs = (what: string) => `width = ${what}`;

export const comesNext = (p: string) => ` comes next (${p}).`;
export const leads = (p: string) => ` leads with ${p}, then `;
export const follows = (p: string) => ` with ${p}.`;
export const shareFrom = (share: string, first: boolean) => (first ? `${share} of this state comes from ` : `${share} from `);
export const and = " and ";
export const comma = ", ";
export const mainRoute = "Main route: ";
export const inLayer = (layer: string) => ` in ${layer}, `;
export const mostlyBy = (head: number, share: string) => `mostly by head ${head}; ${share} of the state it enters.`;
export const severalFirst = (head: number, share: string) =>
  `by several heads, first head ${head}; ${share} of the state it enters.`;
export const noOtherWord = "No line from another word is large.";
export const endedInMixers = (share: string) =>
  `${share} cannot be followed to a word: it went through mixers (state space), which keep no record of single words.`;
export const textLabel = "The prompt as text: arrow keys walk its words, Enter explains one.";
export const sumOf = (n: number, share: string) => `${n} tokens, input share ${share}`;
export const idleWords = (n: number) => `… ${n} tokens …`;
export const idleTitle = "Nothing of note comes from here; click to read";
export const appendTitle = (token: string) => `Append ${token} and explain what comes after it`;

export const howTitle = "How to read this";
export const how = [
  "Columns are tokens, rows are states from embedding to last layer; ▼ marks the one explained.",
  "A line says how much of the state above came from below: by attention, an MLP, or carried on.",
  "Follow thick lines down from ▼ to the tokens that mattered. Hover to read, click to look inside; ? for a tour.",
];
export const nextTitle = (token: string) => `The model's next token after ${token}`;
export const wordsTitle = "Where the target's state comes from";
export const routesTitle = "Strongest lines";
export const edge = "line";
export const filter = "Filter: john l2 h3";
export const find = "Find";
export const findTitle = "Find a token, a head, or what writes a word (/)";
export const findHint = "John, 3, l2 h6";
export const findWriters = (word: string) => `what writes ${word}`;
export const found = (n: number, first: string) => `${n} found: ${first}`;
export const foundNothing = (n_layers: number, n_heads: number) =>
  `Not in this prompt. Tokens by text or number${n_heads ? `, heads as l0 h0 to l${n_layers - 1} h${n_heads - 1}` : ""}.`;
export const linesOf = (n: number) => (n === 0 ? "no line drawn" : n === 1 ? "1 line" : `${n} lines`);
export const endedTitle = "ended on the way";
export const endedBy = {
  mixer: "at mixers",
  truncated: "in lines too weak to send",
  constants: "in constants",
  "no parts": "at states nothing enters",
};
export const waiting = "waiting for the kernel";
export const silent = "No kernel answers: run the cell again.";
export const back = "Back";
export const way = "Way";
export const wayBack = "Step back";
export const wayForward = "Step forward";
export const crumbs = "Selections, newest last";
export const selectionGone = "The selection is not part of this picture.";

export const facts = {
  flow: "flow to target",
  share: "share of its state",
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
};
export const carriedOn = "carried on";

export const inputs = "input";
export const live = {
  graph: (tokens: number, layers: string, target: string) =>
    `Information flow routes: ${tokens} tokens, ${layers}. Explaining ${target}.`,
  targetIs: (token: string) => `Explaining ${token}`,
  flow: (share: string) => `flow ${share}`,
  share: (share: string) => `share ${share}`,
};
export const graphLabel = "Arrow keys walk states and tokens; press question mark for all keys.";
export const asBefore = "as before";
export const lost = "▼ lost";
export const gained = "▲ gained";
export const beside = "The picture that was kept";
export const keep = "Keep this picture beside the next";
export const before = (target: string, next: string) => `Kept: ${target} → ${next}`;
export const withoutEdits = (target: string, next: string) => `Before: ${target} → ${next}`;
export const edited = "Edited";
export const editedHere = "edited";
export const sides = { both: "before and after", after: "after", difference: "difference" };
export const regenerate = "Regenerate";
export const regenerateTitle = "Go on with 8 tokens, with these edits and without: 24 passes";
export const takeBack = "Take this edit back";
export const cutIt = "Cut it";
export const cutTitle = "Draw the picture of a pass without it (x; u takes the last cut back)";
export const to = "What stands there instead";
export const instead: [to: number | "mean", text: string][] = [
  [0, "cut"],
  ["mean", "mean"],
  [0.5, "half"],
  [2, "double"],
];
export const setTo = "set to";
export const knockOut = "knock out (the rest of the row takes over)";
export const fromPrompt = (prompt: string) => `from: ${prompt.slice(0, 60)}`;
export const everywhere = "at every token";
export const goesTo = (token: string, before: string, after: string) => `${token} ${before} → ${after}`;
export const verdict = (token: string, before: string, after: string, odds: readonly string[], foil: string | null) =>
  `${token} goes from ${before} to ${after}; log odds${foil === null ? "" : ` against ${foil}`} ${odds[0]} → ${odds[1]} (${odds[2]}, exact).`;
export const exact =
  "Exact: the model was run again. Another replacement may say something else, and no effect does not mean that a part is not used: others may step in.";
export const after = "after";
export const by = "by";
export const tokensMoved = "Tokens that moved most";
export const oddsChange = "Change of log odds";
export const divergence = "Divergence (nats)";
export const otherPlaces = "other tokens: no line by line difference";
export const differenceTitle = "Colour lines by what was gained and lost";
export const zoomIn = "Zoom in (+)";
export const zoomOut = "Zoom out (−)";
export const overview = "Which tokens are in view: drag, or arrow keys";
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
  ["x u", "cut the selection, take it back"],
  ["/", "find a token, a head, what writes a word"],
  ["Alt ← →", "a step back, a step forward"],
  ["Esc", "back"],
  ["+ − 0", "zoom in, out, fit"],
  ["Ctrl wheel", "zoom tokens; with Shift layers; drag to move"],
];

export const tourTitle = "Tour";
export const next = "Next";
export const tour = [
  "▼ is the token explained. The panel says what comes next.",
  "The main line: how much came this way, by which heads.",
  "Its strongest head: where it looks, what it wrote.",
  "A state half way up, as tokens.",
  "All heads: share, or effect on the answer.",
  "Now you: click anything; x cuts it.",
];

export const empty = "Nothing recorded.";
export const emptyHint = "Type a prompt and press Enter.";
export const errorTitle = "The widget could not be drawn";
export const errorHint =
  "Run the cell again or reload the page. If it stays, update the browser, or report this with what doctor() prints:";
export const noCanvas = "the browser gives no canvas to draw on";
export const unknownError = "an unknown error";
export const sentence = (error: unknown) => (error instanceof Error ? error.message : unknownError);
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
export const noReadout = "Without a linear read-out nothing can be read as tokens.";
export const promoted = "Promoted";
export const suppressed = "Suppressed";
export const updateTitle = (what: string) => `What ${what} added`;
export const shareOf = "share";
export const attentionTo = "attention";
export const effect = "effect";
export const effectTitle = (tokens: string) => `Direct effect on the logit of ${tokens}`;
export const minus = (token: string, foil: string) => `${token} minus that of ${foil}`;
export const effectsOn = "Effects on ";
export const foil = "rather than";
export const byHead = "by head";
export const withoutSpace = (token: string) => `${token} stands here without its space: another token than the word.`;
export const take = (token: string) => `Take ${token}`;
export const whyThis = "Why ";
export const whyMark = "why?";
export const swapWords = "Swap the words";
export const ratherThan = (token: string, foil: string) => `${token} rather than ${foil}`;
export const foilHint = "another";
export const tokenTitle = "The predicted token: type another and press Enter, empty for the model's own";
export const foilTitle = "Type another token and press Enter, empty for none";
export const headName = (head: number) => `Head ${head}`;
export const keyAxis = "key →";
export const queryAxis = "query ↓";
export const cell = (query: string, key: string) => `${query} ← ${key}`;
export const activation = "activation";
export const nextTokens = "What the model says comes next";
export const modelTitle = (line: string) => `The model: ${line}`;
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
export const difference = "Difference";
export const differenceUpdate = "Added to each token's logit";
export const compareFigures = "Figures";
export const compareEffect = "Direct effect";
export const compareEffects = "Direct effects";
export const directEffect = "direct effect";
export const wrote = (part: string, token: string) => `What ${part} wrote at ${token}`;
export const thisPart = (kind: string) => `this ${kind}`;
export const pinnedSide = "pinned";
export const thisSide = "this";
export const answerFailed = "Python could not answer:";

/** The formula behind a panel, with the numbers of the case at hand. */
export const formula = {
  share: (share: string) =>
    `A part z of a state y has prox = max(0, |y|₁ − |y − z|₁). Its share is that over the sum for all parts: ${share}.`,
  effect: (effect: string, token: string) =>
    `The direct effect, ${effect}, is what the vector adds to the logit of ${token}, not what later layers do.`,
  update: (token: string, score: string) => `These tokens read only what was added: ${score} for ${token}.`,
};
