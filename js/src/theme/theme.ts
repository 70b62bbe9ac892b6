// Light or dark: the first opaque background above us decides, what the host says about itself is the hint.
import { luminance, type Rgb } from "../paint/colour.js";

/** "rgb(13, 17, 23)" or "rgba(0, 0, 0, 0)" as colour and opacity. */
export function parseCss(text: string): { rgb: Rgb; alpha: number } | null {
  const [r, g, b, alpha = 1] = /^rgba?\(/.test(text) ? (text.match(/[\d.]+/g) ?? []).map(Number) : [];
  return b === undefined ? null : { rgb: [r, g, b], alpha };
}

export function isDark(el: Element): boolean {
  const hint = hostHint();
  if (hint !== null) return hint;
  for (let at: Element | null = el; at; at = parentAcrossShadow(at)) {
    const c = parseCss(getComputedStyle(at).backgroundColor);
    if (c && c.alpha > 0.5) return luminance(c.rgb) < 0.2;
  }
  return false;
}

/** Hosts that paint our surroundings white even in their dark themes say so on body or html. */
function hostHint(): boolean | null {
  const { body, documentElement: html } = document;
  const jupyter = body?.getAttribute("data-jp-theme-light");
  if (jupyter) return jupyter === "false";
  const vscode = body?.getAttribute("data-vscode-theme-kind");
  if (vscode) return vscode.includes("dark") || vscode === "vscode-high-contrast";
  if (html.getAttribute("theme") === "dark" || body?.classList.contains("dark")) return true;
  return null;
}

function parentAcrossShadow(el: Element): Element | null {
  if (el.parentElement) return el.parentElement;
  const root = el.getRootNode();
  return root instanceof ShadowRoot ? root.host : null;
}

/** Calls `tell` now and whenever the surroundings may have changed colour. Returns what looks again. */
export function watchTheme(el: Element, tell: (dark: boolean) => void, abort: AbortSignal): () => void {
  const look = () => tell(isDark(el));
  const observer = new MutationObserver(look);
  for (const node of [document.documentElement, document.body]) if (node) observer.observe(node, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look, { signal: abort });
  abort.addEventListener("abort", () => observer.disconnect());
  look();
  return look;
}
