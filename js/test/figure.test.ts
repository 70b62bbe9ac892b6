import { describe, expect, test } from "vitest";
import { type Camera, HOME } from "../src/core/camera.js";
import { edgesInto, type Graph } from "../src/core/graph.js";
import { columns } from "../src/core/order.js";
import { busyColumns, drawnCount, trace } from "../src/core/routes.js";
import { DARK, LIGHT } from "../src/paint/colour.js";
import { BY_KIND } from "../src/paint/encoding.js";
import { escapeXml, MONO_EM, type Pen } from "../src/paint/pen.js";
import { zoomAt } from "../src/views/flow/camera.js";
import { svgText } from "../src/views/flow/figure.js";
import { edgeDistance, hit, nearestEdge, segmentDistance } from "../src/views/flow/hit.js";
import { BAR_HEIGHT, labels, labelText, layerTicks } from "../src/views/flow/labels.js";
import { layoutGraph, MARGIN } from "../src/views/flow/layout.js";
import { drawVeil } from "../src/views/flow/mark.js";
import { drawTarget } from "../src/views/flow/nodes.js";
import { type Scene, sliceEnd } from "../src/views/flow/scene.js";
import { graphOf, random, SHAPES } from "./synthetic.js";

function sceneOf(g: Graph, { target = g.T - 1, fold = true, width = 628, height = 446, camera = HOME as Camera } = {}): Scene {
  const routes = trace(g, target);
  const threshold = routes.automatic;
  const cols = columns(busyColumns(g, routes, threshold), fold);
  return {
    g,
    routes,
    layout: layoutGraph(g, cols, width, height, camera, target),
    palette: LIGHT,
    threshold,
    n_drawn: drawnCount(routes, threshold),
    weight: routes.flow,
    hues: BY_KIND,
    places: [],
  };
}

describe.each([...SHAPES, { T: 100, layers: 12, block: "sequential" as const }])(
  "laying out $T tokens, $layers layers, $block blocks",
  (shape) => {
    const { g, layout, routes } = sceneOf(graphOf(shape));

    test("states rise, tokens go right, everything is inside the plot", () => {
      for (let s = 1; s < g.S; s++) expect(layout.y[s]).toBeLessThan(layout.y[s - 1]);
      for (let t = 1; t < g.T; t++) expect(layout.x[t]).toBeGreaterThanOrEqual(layout.x[t - 1]);
      for (let n = 0; n < g.n_nodes; n++) {
        expect(layout.node_x[n]).toBeGreaterThanOrEqual(layout.left);
        expect(layout.node_x[n]).toBeLessThanOrEqual(layout.right);
        expect(layout.node_y[n]).toBeGreaterThan(layout.top - 8);
        expect(layout.node_y[n]).toBeLessThan(layout.bottom);
      }
    });

    test("labels keep their distance", () => {
      const shown = labels(layout, routes.input_share, routes.target);
      expect(shown.some(({ pos }) => pos === routes.target)).toBe(true);
      for (let i = 1; i < shown.length; i++)
        expect(shown[i].x - shown[i - 1].x).toBeGreaterThanOrEqual(Math.min(13, layout.column_gap));
      const ticks = layerTicks(g, layout);
      for (let i = 1; i < ticks.length; i++) expect(ticks[i - 1].y - ticks[i].y).toBeGreaterThanOrEqual(13.9);
    });

    test("the target's column is in view", () => {
      expect(layout.x[routes.target]).toBeGreaterThan(layout.left);
      expect(layout.x[routes.target]).toBeLessThan(layout.right);
    });
  },
);

test("zooming keeps what is under the pointer, as far as the ends allow", () => {
  const g = graphOf({ T: 100, layers: 12, block: "sequential" });
  const whole = sceneOf(g, { fold: false }).layout;
  // From here on the strip below stays where it is.
  const before = sceneOf(g, { fold: false, camera: zoomAt(whole, 1.2, whole.x[60], whole.y[10]) }).layout;
  const [px, py] = [before.x[60], before.y[10]];
  const after = sceneOf(g, { fold: false, camera: zoomAt(before, 2, px, py) }).layout;
  expect(whole.seen).toBeNull();
  expect(whole.bottom - before.bottom).toBeCloseTo(18);
  expect(after.x[60]).toBeCloseTo(px, 1);
  expect(after.y[10]).toBeCloseTo(py, 1);
  expect(after.column_gap).toBeGreaterThan(before.column_gap * 1.9);
});

test("a thousand columns start at the target and fit when zoomed out", () => {
  const g = graphOf({ T: 1000, layers: 3, block: "sequential" });
  const near = sceneOf(g, { fold: false }).layout;
  expect(near.x[999]).toBeLessThan(near.right);
  expect(near.x[0]).toBeLessThan(near.left);
  const far = sceneOf(g, { fold: false, camera: { zoom: near.fit, x: null, y: null } }).layout;
  expect(far.column_gap).toBeGreaterThan(0);
});

test("the hit test finds what a search over all drawn edges finds", () => {
  for (const shape of SHAPES) {
    const scene = sceneOf(graphOf(shape));
    const { g, routes, layout, threshold } = scene;
    const rand = random(5);
    for (let i = 0; i < 300; i++) {
      const px = layout.left + rand() * (layout.right - layout.left);
      const py = layout.top + rand() * (layout.bottom - layout.top);
      let best = -1;
      let distance = 6;
      for (let e = 0; e < g.n_edges; e++) {
        if (!(routes.strength[e] > threshold)) continue;
        const d = edgeDistance(g, layout, e, px, py);
        if (d < distance) {
          distance = d;
          best = e;
        }
      }
      const found = nearestEdge(g, routes, layout, threshold, px, py);
      expect(found < 0).toBe(best < 0);
      if (best >= 0) expect(edgeDistance(g, layout, found, px, py)).toBeCloseTo(distance, 6);
    }
  }
});

test("states and squares are hit where they are drawn, tokens under the picture", () => {
  const { g, routes, layout, threshold } = sceneOf(graphOf({ T: 7, layers: 3, block: "sequential" }));
  for (let n = 0; n < g.n_nodes; n++) {
    if (n >= g.S * g.T && routes.node_flow[n] === 0) continue;
    expect(hit(g, routes, layout, threshold, layout.node_x[n], layout.node_y[n])).toEqual({ kind: "node", node: n });
  }
  for (let t = 0; t < g.T; t++) {
    expect(hit(g, routes, layout, threshold, layout.x[t], layout.bottom + 20)).toEqual({ kind: "token", pos: t });
  }
  expect(hit(g, routes, layout, threshold, 2, 100)).toBeNull();
});

describe.each([
  ["in view as a whole", (fit: number) => fit],
  ["at its natural size", () => 1],
  ["close up", () => 8],
])("a long prompt %s", (_, zoom) => {
  const g = graphOf({ T: 300, layers: 40, block: "sequential" });
  const { layout: home } = sceneOf(g, { fold: false });
  const scene = sceneOf(g, { fold: false, camera: { zoom: zoom(home.fit), x: null, y: null } });
  const { routes, layout, threshold } = scene;
  const { left, right, top, bottom, node_x, node_y } = layout;
  const isIn = (x: number, y: number) => x > left && x < right && y > top && y < bottom;

  test("every drawn node is hit where it is", () => {
    let n_hit = 0;
    for (let n = 0; n < g.n_nodes; n++) {
      if (!(routes.node_strength[n] > threshold) || !isIn(node_x[n], node_y[n])) continue;
      const found = hit(g, routes, layout, threshold, node_x[n], node_y[n]);
      if (found?.kind !== "node") expect.unreachable(`node ${n} is ${JSON.stringify(found)}`);
      else expect(Math.hypot(node_x[found.node] - node_x[n], node_y[found.node] - node_y[n])).toBeLessThan(1e-6);
      n_hit++;
    }
    expect(n_hit).toBeGreaterThan(10);
  });

  test("every drawn edge is hit halfway, unless something drawn is in the way", () => {
    let n_hit = 0;
    for (const e of routes.order.subarray(0, scene.n_drawn)) {
      const [a, b] = [g.source[e], g.entered[e]];
      const [x, y] = [(node_x[a] + node_x[b]) / 2, (node_y[a] + node_y[b]) / 2];
      if (!isIn(x, y) || Math.abs(node_x[a] - node_x[b]) < 60) continue;
      const found = hit(g, routes, layout, threshold, x, y);
      if (found?.kind === "edge") expect(edgeDistance(g, layout, found.edge, x, y)).toBeLessThan(1e-3);
      else if (found?.kind === "node") {
        expect(routes.node_strength[found.node]).toBeGreaterThan(threshold);
        expect(Math.hypot(node_x[found.node] - x, node_y[found.node] - y)).toBeLessThan(7);
      } else expect.unreachable(`edge ${e} is not hit`);
      if (found?.kind === "edge") n_hit++;
    }
    expect(n_hit).toBeGreaterThan(1);
  });
});

test("slice by slice all drawn edges are drawn once, those of a search over all edges", () => {
  const g = graphOf({ T: 120, layers: 12, block: "sequential" });
  const scene = sceneOf(g, { fold: false });
  const { routes } = scene;
  for (const threshold of [0, 1e-5, routes.automatic]) {
    const n_drawn = drawnCount(routes, threshold);
    const slices: number[] = [];
    for (let from = 0; from < n_drawn; ) {
      const to = sliceEnd({ ...scene, n_drawn }, from, 700);
      slices.push(...routes.order.subarray(from, to));
      from = to;
    }
    const all = Array.from(routes.strength.keys()).filter((e) => routes.strength[e] > threshold);
    expect(slices.sort((a, b) => a - b)).toEqual(all);
  }
});

test("distance to a segment", () => {
  expect(segmentDistance(0, 5, -1, 0, 1, 0)).toBe(5);
  expect(segmentDistance(4, 4, 0, 0, 1, 0)).toBe(5);
  expect(segmentDistance(3, 4, 0, 0, 0, 0)).toBe(5);
});

test("the SVG has a line for every drawn edge that goes straight, and a circle for every state it reaches", () => {
  const scene = sceneOf(graphOf({ T: 7, layers: 3, block: "parallel" }));
  const { g, routes, n_drawn } = scene;
  const svg = svgText(scene);
  const drawn = Array.from(routes.order.subarray(0, n_drawn));
  const itself = drawn.filter((e) => g.kind[e] === 1 && g.source[e] % g.T === g.entered[e] % g.T).length;
  expect(svg.match(/M[\d.-]/g)?.length).toBe(drawn.length - itself + 8 * itself);
  expect(svg).toContain("<title>Information flow routes to");
  expect(edgesInto(g, (g.S - 1) * g.T).length).toBeGreaterThan(0);
});

test("a hostile token is text in the SVG, never markup", () => {
  const tokens = ["<script>alert(1)</script>", '"><img onerror=x>', "&amp;'", "\u0000\u001b\ud800", "]]>", "·end"];
  const svg = svgText(sceneOf(graphOf({ T: 6, layers: 2, block: "sequential", tokens })));
  expect(svg).not.toContain("<script");
  expect(svg).not.toContain("<img");
  expect(svg).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
  expect(escapeXml("a<b>&\"'\u0001\ud800")).toBe("a&lt;b&gt;&amp;&quot;&#39;□□");
  const opened = svg.match(/<(?!\/|\?)[a-zA-Z]+/g)?.map((x) => x.slice(1)) ?? [];
  expect(new Set(opened)).toEqual(new Set(["svg", "title", "rect", "clipPath", "g", "path", "circle", "polygon", "text"]));
});

test("the same strokes in the dark differ in colour alone", () => {
  const scene = sceneOf(graphOf({ T: 5, layers: 2, block: "sequential" }));
  const shape = (svg: string) => svg.replace(/#[0-9a-f]{6}/g, "");
  expect(shape(svgText({ ...scene, palette: DARK }))).toBe(shape(svgText(scene)));
});

test("where layers are a few pixels high, the dots of states do not cover the residual line with another colour", () => {
  const fills = (layers: number) => {
    const svg = svgText(sceneOf(graphOf({ T: 8, layers, block: "sequential" })));
    return new Set([...svg.matchAll(/<(?:circle|rect)[^>]*?fill="(#\w+)"/g)].map(([, fill]) => fill));
  };
  expect(fills(80).has(LIGHT.residual)).toBe(true);
  expect(fills(4).has(LIGHT.residual)).toBe(false);
});

test("the veil behind a selection leaves the model's next token whole", () => {
  for (const T of [7, 40, 150]) {
    const scene = sceneOf(graphOf({ T, layers: 6, block: "sequential" }));
    const seen = { veil: 0, baseline: 0 };
    const pen = {
      rect: (_x: number, y: number) => (seen.veil = y),
      text: (_t: string, _x: number, y: number) => (seen.baseline = y),
    };
    drawVeil(pen as unknown as Pen, scene);
    drawTarget({ ...pen, polygon: () => {} } as unknown as Pen, scene);
    expect(seen.veil).toBeGreaterThan(seen.baseline + 2);
  }
});

test("all edges zero and a single token still make a picture", () => {
  expect(svgText(sceneOf(graphOf({ T: 6, layers: 2, block: "sequential", zero: true })))).toContain("<polygon");
  expect(svgText(sceneOf(graphOf({ T: 1, layers: 2, block: "sequential" })))).not.toContain("NaN");
});

test("long labels are cut to the room below and beside", () => {
  expect(labelText("·the", 200)).toBe("·the");
  const cut = labelText("·supercalifragilistic", 200);
  expect(cut.endsWith("…")).toBe(true);
  const room = MARGIN.bottom - BAR_HEIGHT - 19; // below a label's first letter
  expect(cut.length * 12 * MONO_EM * Math.sin((48 * Math.PI) / 180)).toBeLessThan(room - 2); // letters have a depth, too
  expect(labelText("·supercalifragilistic", 62).length).toBeLessThanOrEqual(cut.length);
  expect(labelText("·日本語日本語日本語", 200).length).toBeLessThan(9);
});
