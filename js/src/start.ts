// What a host loads for every widget: it unfolds the script that came with the widget's state, once in a page.
// A page never forgets a module: one of full size for each run of a cell would stay in it for good.

import type { HostModel } from "./host.js";

interface Widget {
  render(props: { model: HostModel; el: HTMLElement }): () => void;
}

const NAME = Symbol.for("lmtt_widget HASH"); // of the script, which Python puts in
const loaded = globalThis as unknown as Record<symbol, Promise<Widget> | undefined>;

async function load(folded: BlobPart): Promise<Widget> {
  const script = await new Response(new Blob([folded]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  try {
    return (await import(address)).default;
  } finally {
    URL.revokeObjectURL(address);
  }
}

export default {
  async render(props: { model: HostModel; el: HTMLElement }): Promise<(() => void) | undefined> {
    try {
      loaded[NAME] ??= load(props.model.get("_code") as BlobPart);
      return (await loaded[NAME]).render(props);
    } catch (error) {
      loaded[NAME] = undefined;
      props.el.textContent = `The widget's script could not be loaded (${error}). It needs a browser of 2023 or newer.`;
    }
  },
};
