// Lines as wide as their share of the state they enter, as in the papers.
import type { Graph } from "../core/graph.js";
import { drawnCount, type Routes, type Settings, throughSquares } from "../core/routes.js";
import type { Encoding } from "../paint/encoding.js";

const THRESHOLD = 0.04; // the papers' default

const own = (g: Graph, { reading }: Settings) => (reading === "max" ? g.share_max : g.share_sum);

/** Divided by their sum over the drawn edges at every state. */
function renormalised(g: Graph, routes: Routes, threshold: number, weight: Float32Array): Float32Array {
  const whole = new Float64Array(g.n_nodes);
  for (let i = 0, n = drawnCount(routes, threshold); i < n; i++) whole[g.entered[routes.order[i]]] += weight[routes.order[i]];
  for (let e = 0; e < weight.length; e++) if (whole[g.entered[e]] > 0) weight[e] /= whole[g.entered[e]];
  return weight;
}

const share: Encoding = {
  name: "share",
  label: "share",
  title: "How much of its own state each line accounts for",
  automaticTitle: "The papers' threshold of 4%",
  reach: 2 * THRESHOLD,
  passing: own,
  automatic: () => THRESHOLD,
  weight(g, routes, threshold, settings) {
    const weight = own(g, settings).slice();
    return throughSquares(g, settings.renormalise ? renormalised(g, routes, threshold(), weight) : weight);
  },
  legend: ({ renormalise }) =>
    renormalise
      ? "Shares of the drawn lines, divided by their sum at every state."
      : "A share is how much of its state a line accounts for; a state's shares add up to 100%.",
  fact: ({ renormalise }) => (renormalise ? "share, renormalised" : null),
  controls: [
    {
      trait: "reading",
      label: "Heads",
      options: [
        ["max", "max", "A line passes when one head alone is above the threshold"],
        ["sum", "sum", "A line passes when its heads together are above the threshold"],
      ],
    },
    {
      trait: "renormalise",
      text: "renorm.",
      title: "Divide lines that pass by their sum at each state; Python's renormalize() drops single heads",
    },
  ],
};
export default share;
