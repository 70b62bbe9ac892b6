// A toy encoding: the lines of the flow, every one as wide as any other, in two colours by where they end.
import { BY_FLOW } from "../../../../js/src/core/routes.js";
import type { Encoding } from "../../../../js/src/paint/encoding.js";

const even: Encoding = {
  ...BY_FLOW,
  name: "even",
  label: "even",
  title: "All lines alike",
  automaticTitle: "As many as by flow",
  weight: (g) => new Float32Array(g.n_edges).fill(1),
  hues: {
    names: ["to an odd token", "to an even token"],
    of: (g, e) => Number((g.entered[e] % g.T) % 2 === 0),
    colour: (palette, hue) => (hue ? palette.attention : palette.mlp),
  },
  legend: () => "Every line is as wide as any other.",
};
export default even;
