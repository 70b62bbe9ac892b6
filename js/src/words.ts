// Every string a reader can see.

export const prompt = "Prompt";
export const promptHint = "Type a prompt and press Enter";
export const run = "Run";
export const running = "Running";
export const prompts = (i: number, n: number) => `Prompts, ${i} of ${n} shown`;
export const offline = "This page has no kernel behind it: prompts cannot be run here.";
export const chat = "chat";
export const ids = (n: number) => `${n} token ids`;

export const picture = "Picture";
export const explain = "Explain";
export const explainTitle = "The token whose last state is explained (or click a token under the picture)";
export const threshold = "Threshold";
export const thresholdTitle = "Edges weaker than this are hidden";
export const automatic = "Auto";
export const automaticTitle = (flow: boolean) =>
  flow ? "Choose the threshold so that about 80 attention edges are drawn" : "The papers' threshold of 4%";
export const edges = (n: string) => `${n} ${n === "1" ? "edge" : "edges"}`;
export const edgesTitle = "Attention edges drawn";
export const carries = (share: string) => `carries ${share}`;
export const carriesTitle =
  "How much of the target's state reaches the tokens through the drawn lines alone. The rest runs through hidden lines or ends on the way.";
export const encoding = "Line width";
export const flow = "flow";
export const flowTitle = "Shares multiplied along paths down from the target";
export const share = "share";
export const shareTitle = "Local shares: how much of its own state each line accounts for";
export const reading = "Heads";
export const max = "max";
export const maxTitle = "A line passes when one head alone is above the threshold";
export const sum = "sum";
export const sumTitle = "A line passes when its heads together are above the threshold";
export const renormalise = "renorm.";
export const renormaliseTitle =
  "Divide the lines that pass by their sum at every state. Whole lines are divided here; renormalize() in Python drops single heads.";
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
export const saveJson = "Save the view as JSON";
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
export const legendFlow = "Flow multiplies shares along paths down from the target; it is bookkeeping, not a causal effect.";
export const legendShare = "A share is how much of its own state a line accounts for; shares at a state add up to 100%.";
export const legendRenormalised = "Shares of the drawn lines only, divided by their sum at every state.";
export const widthIs = (what: string) => `width = ${what}`;

export const howTitle = "How to read this";
export const how = [
  "Columns are tokens, rows are states from embedding to last layer; ▼ marks the one explained.",
  "A line says how much of the state above came from below: by attention, through an MLP, or carried on.",
  "Follow thick lines down from ▼ to the tokens that mattered. Hover to read, click to look inside.",
];
export const nextTitle = (token: string) => `The model's next token after ${token}`;
export const wordsTitle = "Where the target's state comes from";
export const endedTitle = "ended on the way";
export const endedBy = {
  mixer: "at mixers",
  truncated: "in lines too weak to send",
  constants: "in constants",
  "no parts": "at states nothing enters",
};
export const hoverEmpty = "Hover the picture to read a state, a line or a token here.";
export const hoverKeys = "With the keyboard: arrows walk, Enter selects, t sets the target, ? lists all keys.";
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
  incoming: "Made from",
};
export const incoming = {
  residual: "carried on",
  attention: (n: number) => `attention, ${n} more`,
  mlp: "MLP",
  truncated: "lines too weak to send",
};

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
export const graphLabel = "Information flow graph. Arrow keys walk states and tokens; press question mark for all keys.";
export const resize = "Height of the widget";
export const keysTitle = "Keys in the picture";
export const keys = [
  ["← → ↑ ↓", "walk tokens and states"],
  ["Shift →", "enter the MLP"],
  [", .", "walk incoming lines, strongest first"],
  ["f", "follow the line to its source"],
  ["Enter", "select, look inside"],
  ["t", "make this token the target"],
  ["p", "pin the selection"],
  ["Esc", "back"],
  ["+ − 0", "zoom in, out, fit"],
  ["Ctrl wheel", "zoom at the pointer; drag to move"],
];

export const empty = "Nothing recorded yet.";
export const emptyHint = "Type a prompt above and press Enter.";
export const errorTitle = "The widget could not be drawn";
export const errorHint = "The numbers in Python are not affected. Run the cell again, or report this message:";
export const unknownError = "an unknown error";
export const fidelity = "How exact the decomposition is";
export const dtype = "computed in";
export const problems = "Problems";
export const notes = "Notes";
export const progress = (done: number, total: number) => `${done} of ${total}`;
export const layers = (n: number) => (n === 1 ? "1 layer" : `${n} layers`);
