// A survey as a map, layer x head: hover says value, interval, chance and counts; a click lists examples.
import { download, png } from "../download.js";
import { paletteOf } from "../paint/colour.js";
import { watchTheme } from "../theme/theme.js";
import { isKnown, mapFigure, mostOf, type ScoreMap } from "./figure.js";
import css from "./style.js";
import * as words from "./words.js";

interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}
interface Example {
  number: number;
  text: string;
  value: number;
}
type Maps = Record<string, ScoreMap>;
type Found = Record<string, Example[]>;

function make<K extends keyof HTMLElementTagNameMap>(tag: K, name: string, text = ""): HTMLElementTagNameMap[K] {
  const el = document.createElement(tag);
  el.className = name;
  el.textContent = text;
  return el;
}

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const abort = new AbortController();
  const host = make("div", "lmtt-survey");
  host.setAttribute("data-lm-suppress-shortcuts", "true");
  el.append(host);
  const shadow = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // not a style element, which a page's policy would have to name
  sheet.replaceSync(css);
  shadow.adoptedStyleSheets = [sheet];
  const root = make("div", "root");
  shadow.append(root);
  let is_dark = false;
  const wear = (dark: boolean) => {
    root.classList.toggle("dark", dark);
    is_dark = dark;
    for (const [name, colour] of Object.entries(paletteOf(dark))) root.style.setProperty(`--${name}`, String(colour));
  };
  wear(false);
  const look = watchTheme(host, wear, abort.signal);
  requestAnimationFrame(look);

  const bar = make("div", "bar");
  const label = make("label", "", `${words.score} `);
  const chosen = make("select", "score");
  label.append(chosen);
  const keep = make("span", "keep", `${words.save} `);
  for (const kind of ["PNG", "SVG"]) {
    const button = make("button", "file", kind);
    button.type = "button";
    button.title = `${words.save} ${kind}`;
    button.addEventListener("click", () => save(kind.toLowerCase()));
    keep.append(button);
  }
  bar.append(label, keep);
  const [said, grid, list] = [make("p", "said"), make("div", "grid"), make("div", "list")];
  said.setAttribute("aria-live", "polite");
  root.append(bar, grid, said, list);

  const maps = () => model.get("maps") as Maps;
  const name = () => model.get("score") as string;
  const send = (trait: string, value: unknown) => {
    model.set(trait, value);
    model.save_changes();
  };

  function drawMap(): void {
    chosen.replaceChildren(...Object.keys(maps()).map((one) => new Option(one, one, false, one === name())));
    const map = maps()[name()];
    const most = mostOf(map);
    const n = Math.max(...map.cells.map((row) => row.length));
    grid.style.gridTemplateColumns = `3em repeat(${n}, minmax(10px, 44px))`;
    grid.setAttribute("role", "group");
    grid.setAttribute("aria-label", name());
    const rows = map.cells.map((row, i) => [
      make("span", "layer", words.layer(map.layers[i])),
      ...row.map((cell, head) => cellOf(map, cell, `${map.layers[i]}.${head}`, most, [i, head])),
    ]);
    const foot = [make("span", "layer", words.heads), ...Array.from({ length: n }, (_, h) => make("span", "head", String(h)))];
    grid.replaceChildren(...rows.reverse().flat(), ...foot); // the last layer on top, as in the flow widget
    const all = words.counted(name(), map.n_prompts, map.n_queries, map.n_duplicates, map.n_refused);
    said.textContent = `${all}. ${isKnown(map) ? words.grey : words.noChance}`;
  }

  async function save(kind: string): Promise<void> {
    const figure = mapFigure(maps()[name()], name(), model.get("title") as string, is_dark);
    const blob = kind === "png" ? await png(figure) : new Blob([figure.text], { type: "image/svg+xml" });
    download(blob, `survey-${name().replace(/\W+/g, "-")}.${kind}`);
  }

  function cellOf(map: ScoreMap, cell: words.Cell | null, at: string, most: number, place: number[]): HTMLElement {
    if (cell === null || cell.value === null) return make("span", "none");
    const button = make("button", "cell");
    const sentence = words.said(at, cell);
    button.type = "button";
    button.title = sentence;
    button.setAttribute("aria-label", sentence);
    button.dataset.at = at;
    button.classList.toggle("grey", cell.apart === false);
    button.classList.toggle("below", cell.value < 0);
    button.style.setProperty("--much", String(Math.abs(cell.value) / most));
    const current = model.get("cell") as number[] | null;
    button.setAttribute("aria-pressed", String(current?.join() === place.join()));
    const tell = () => {
      const all = words.counted(name(), map.n_prompts, map.n_queries, map.n_duplicates, map.n_refused);
      said.textContent = `${sentence}. ${all}.`;
    };
    button.addEventListener("pointerenter", tell);
    button.addEventListener("focus", tell);
    button.addEventListener("click", () => {
      send("cell", place);
      for (const other of grid.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
      drawList();
    });
    return button;
  }

  function drawList(): void {
    const cell = model.get("cell") as number[] | null;
    if (cell === null) {
      list.replaceChildren(make("p", "hint", words.choose));
      return;
    }
    const map = maps()[name()];
    const at = `${map.layers[cell[0]]}.${cell[1]}`;
    const found = (model.get("examples") as Found)[`${name()} ${cell.join(".")}`];
    const offline = Boolean(model.get("offline"));
    const items = (found ?? []).map((example) => {
      const item = make("li", "example");
      const inside = offline || !model.get("opens") ? make("span", "text") : make("button", "text");
      inside.textContent = example.text;
      if (inside instanceof HTMLButtonElement) {
        inside.title = words.opens;
        inside.addEventListener("click", () => send("opened", [...cell, example.number]));
      }
      item.append(make("span", "value", example.value.toPrecision(3)), inside);
      return item;
    });
    const rows = make("ol", "examples");
    rows.append(...items);
    const hint = found ? [] : [make("p", "hint", offline ? words.noExamples : words.waiting)];
    list.replaceChildren(make("h4", "title", words.examples(at)), rows, ...hint);
  }

  const drawAll = () => {
    drawMap();
    drawList();
  };
  chosen.addEventListener("change", () => send("score", chosen.value));
  const listens: [string, () => void][] = [
    ["change:maps", drawAll],
    ["change:score", drawAll],
    ["change:examples", drawList],
  ];
  for (const [event, callback] of listens) model.on(event, callback);
  drawAll();
  host.dataset.ready = "1";
  return () => {
    for (const [event, callback] of listens) model.off(event, callback);
    abort.abort();
    host.remove();
  };
}

/** The model of a page without a kernel: it keeps what is set. */
function saved(state: Record<string, unknown>): Model {
  const heard = new Map<string, Set<() => void>>();
  return {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      for (const callback of heard.get(`change:${name}`) ?? []) callback();
    },
    save_changes: () => {},
    on: (event, callback) => heard.set(event, (heard.get(event) ?? new Set()).add(callback)),
    off: (event, callback) => heard.get(event)?.delete(callback),
  };
}

const data = document.getElementById("lmtt-survey-page");
if (data) render({ model: saved(JSON.parse(data.textContent ?? "")), el: document.getElementById("page") as HTMLElement });

export default { render };
