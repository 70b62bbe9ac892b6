// One set of strokes, two pens: a canvas on screen and SVG text in a file, so that picture and file cannot differ.

export interface TextStyle {
  size: number; // px
  colour: string;
  anchor?: "start" | "middle" | "end";
  rotate?: number; // degrees, clockwise, around (x, y)
  mono?: boolean;
  bold?: boolean;
  italic?: boolean;
  halo?: string; // colour of an outline that keeps text readable over lines
}

export interface Pen {
  /** segments x0 y0 x1 y1 ..., one colour and width */
  lines(segments: ArrayLike<number>, n: number, colour: string, width: number, alpha: number): void;
  /** x y r ... */
  circles(xyr: ArrayLike<number>, n: number, fill: string | null, stroke: string | null, width: number): void;
  /** x y half-side ... */
  squares(xyh: ArrayLike<number>, n: number, fill: string | null, stroke: string | null, width: number): void;
  rect(x: number, y: number, w: number, h: number, fill: string, alpha?: number, radius?: number): void;
  polygon(points: ArrayLike<number>, fill: string): void;
  text(text: string, x: number, y: number, style: TextStyle): void;
  /** everything drawn inside is cut at this rectangle */
  clip(x: number, y: number, w: number, h: number, inside: () => void): void;
}

export const SANS = "system-ui, sans-serif"; // those of the style sheet
export const MONO = "ui-monospace, Menlo, Consolas, monospace";
export const MONO_EM = 0.602; // width of one monospaced character, in units of the size

export function canvasPen(c: CanvasRenderingContext2D): Pen {
  const paint = (fill: string | null, stroke: string | null, width: number) => {
    if (fill) {
      c.fillStyle = fill;
      c.fill();
    }
    if (stroke) {
      c.strokeStyle = stroke;
      c.lineWidth = width;
      c.stroke();
    }
  };
  return {
    lines(s, n, colour, width, alpha) {
      c.globalAlpha = alpha;
      c.strokeStyle = colour;
      c.lineWidth = width;
      // Round ends show on wide lines only, and cost; so do long paths, unless their lines are as thin as a pixel.
      c.lineCap = width > 1.3 ? "round" : "butt";
      const at_once = 4 * (width * c.getTransform().a > 1 ? 250 : 4000);
      for (let from = 0; from < 4 * n; from += at_once) {
        c.beginPath();
        for (let i = from; i < Math.min(4 * n, from + at_once); i += 4) {
          c.moveTo(s[i], s[i + 1]);
          c.lineTo(s[i + 2], s[i + 3]);
        }
        c.stroke();
      }
      c.globalAlpha = 1;
    },
    circles(s, n, fill, stroke, width) {
      const discs = (wider: number) => {
        c.beginPath();
        for (let i = 0; i < 3 * n; i += 3) {
          const r = Math.max(0, s[i + 2] + wider);
          c.moveTo(s[i] + r, s[i + 1]);
          c.arc(s[i], s[i + 1], r, 0, 2 * Math.PI);
        }
      };
      if (fill && stroke) {
        // A disc on a disc looks like an outlined one and takes half the time.
        discs(width / 2);
        paint(stroke, null, 0);
        discs(-width / 2);
        paint(fill, null, 0);
      } else {
        discs(0);
        paint(fill, stroke, width);
      }
    },
    squares(s, n, fill, stroke, width) {
      c.beginPath();
      for (let i = 0; i < 3 * n; i += 3) c.rect(s[i] - s[i + 2], s[i + 1] - s[i + 2], 2 * s[i + 2], 2 * s[i + 2]);
      paint(fill, stroke, width);
    },
    rect(x, y, w, h, fill, alpha = 1, radius = 0) {
      c.globalAlpha = alpha;
      c.fillStyle = fill;
      c.beginPath();
      if (radius > 0 && typeof c.roundRect === "function") c.roundRect(x, y, w, h, radius);
      else c.rect(x, y, w, h);
      c.fill();
      c.globalAlpha = 1;
    },
    polygon(p, fill) {
      c.fillStyle = fill;
      c.beginPath();
      for (let i = 0; i < p.length; i += 2) c.lineTo(p[i], p[i + 1]);
      c.closePath();
      c.fill();
    },
    text(text, x, y, style) {
      c.save();
      c.translate(x, y);
      if (style.rotate) c.rotate((style.rotate * Math.PI) / 180);
      c.font = `${style.italic ? "italic " : ""}${style.bold ? "600 " : ""}${style.size}px ${style.mono ? MONO : SANS}`;
      c.textAlign = style.anchor === "middle" ? "center" : (style.anchor ?? "start");
      c.textBaseline = "alphabetic";
      c.direction = "ltr";
      if (style.halo) {
        c.strokeStyle = style.halo;
        c.lineWidth = 6;
        c.lineJoin = "round";
        c.strokeText(text, 0, 0);
      }
      c.fillStyle = style.colour;
      c.fillText(text, 0, 0);
      c.restore();
    },
    clip(x, y, w, h, inside) {
      c.save();
      c.beginPath();
      c.rect(x, y, w, h);
      c.clip();
      inside();
      c.restore();
    },
  };
}

export interface SvgPen extends Pen {
  /** the whole file */
  toString(): string;
}

export function svgPen(width: number, height: number, background: string, title: string): SvgPen {
  const out: string[] = [];
  let n_clips = 0;
  const shape = (tag: string, d: string, fill: string | null, stroke: string | null, w: number) =>
    out.push(`<${tag} ${d} fill="${fill ?? "none"}"${stroke ? ` stroke="${stroke}" stroke-width="${num(w)}"` : ""}/>`);
  return {
    lines(s, n, colour, w, alpha) {
      if (n === 0) return;
      let d = "";
      for (let i = 0; i < 4 * n; i += 4) d += `M${num(s[i])} ${num(s[i + 1])}L${num(s[i + 2])} ${num(s[i + 3])}`;
      out.push(
        `<path d="${d}" fill="none" stroke="${colour}" stroke-width="${num(w)}" stroke-opacity="${num(alpha)}" stroke-linecap="round"/>`,
      );
    },
    circles(s, n, fill, stroke, w) {
      for (let i = 0; i < 3 * n; i += 3) {
        shape("circle", `cx="${num(s[i])}" cy="${num(s[i + 1])}" r="${num(s[i + 2])}"`, fill, stroke, w);
      }
    },
    squares(s, n, fill, stroke, w) {
      for (let i = 0; i < 3 * n; i += 3) {
        const h = s[i + 2];
        shape(
          "rect",
          `x="${num(s[i] - h)}" y="${num(s[i + 1] - h)}" width="${num(2 * h)}" height="${num(2 * h)}"`,
          fill,
          stroke,
          w,
        );
      }
    },
    rect(x, y, w, h, fill, alpha = 1, radius = 0) {
      out.push(
        `<rect x="${num(x)}" y="${num(y)}" width="${num(w)}" height="${num(h)}" rx="${num(radius)}" fill="${fill}" fill-opacity="${num(alpha)}"/>`,
      );
    },
    polygon(p, fill) {
      out.push(`<polygon points="${Array.from(p, num).join(" ")}" fill="${fill}"/>`);
    },
    text(text, x, y, style) {
      const turn = style.rotate ? ` transform="rotate(${num(style.rotate)} ${num(x)} ${num(y)})"` : "";
      const halo = style.halo ? ` stroke="${style.halo}" stroke-width="6" stroke-linejoin="round" paint-order="stroke"` : "";
      out.push(
        `<text x="${num(x)}" y="${num(y)}" font-size="${style.size}" font-family="${escapeXml(style.mono ? MONO : SANS)}"` +
          `${style.bold ? ' font-weight="600"' : ""}${style.italic ? ' font-style="italic"' : ""} text-anchor="${style.anchor ?? "start"}" fill="${style.colour}"${halo}${turn} xml:space="preserve">${escapeXml(text)}</text>`,
      );
    },
    clip(x, y, w, h, inside) {
      const id = `c${n_clips++}`;
      out.push(
        `<clipPath id="${id}"><rect x="${num(x)}" y="${num(y)}" width="${num(w)}" height="${num(h)}"/></clipPath><g clip-path="url(#${id})">`,
      );
      inside();
      out.push("</g>");
    },
    toString() {
      return (
        `<svg xmlns="http://www.w3.org/2000/svg" width="${num(width)}" height="${num(height)}" viewBox="0 0 ${num(width)} ${num(height)}" role="img">` +
        `<title>${escapeXml(title)}</title><rect width="100%" height="100%" fill="${background}"/>${out.join("")}</svg>\n`
      );
    },
  };
}

const num = (x: number) => String(Math.round(100 * x) / 100);

/** Text as XML 1.0 may carry it: markup escaped, characters the format forbids replaced. */
export function escapeXml(text: string): string {
  return text
    .replace(/&/g, "&amp;")
    .replace(/</g, "&lt;")
    .replace(/>/g, "&gt;")
    .replace(/"/g, "&quot;")
    .replace(/'/g, "&#39;")
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\u25a1")
    .replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\u25a1");
}
