// Lines as wide as their flow: shares multiplied along paths down from the target.
import { BUDGET, BY_FLOW } from "../core/routes.js";
import type { Encoding } from "../paint/encoding.js";

const flow: Encoding = {
  ...BY_FLOW,
  name: "flow",
  label: "flow",
  title: "Shares multiplied along paths from the target",
  automaticTitle: `Draw about ${BUDGET} attention edges`,
  weight: (_, routes) => routes.flow,
  legend: () => "Flow multiplies shares along paths from the target; it is bookkeeping, not a causal effect.",
};
export default flow;
