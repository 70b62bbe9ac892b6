// Lines as wide as their flow: shares multiplied along paths down from the target.
import { BY_FLOW, EXPLAINED } from "../core/routes.js";
import type { Encoding } from "../paint/encoding.js";

const flow: Encoding = {
  ...BY_FLOW,
  name: "flow",
  label: "flow",
  title: "Shares multiplied along paths from the target",
  automaticTitle: `The fewest lines that carry ${100 * EXPLAINED}% of the flow`,
  weight: (_, routes) => routes.flow,
  legend: () => "Flow multiplies shares along paths from the target; it is bookkeeping, not a causal effect.",
};
export default flow;
