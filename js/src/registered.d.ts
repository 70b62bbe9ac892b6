// What the build knows: the files it finds in folders (js/registered.mjs), and whether a kernel may be there.
declare const LIVE: boolean; // false in the page without one: what only a kernel can do is left out of it
declare module "registered:kinds" {
  const kinds: import("./controls/kind.js").Kind[];
  export default kinds;
}
declare module "registered:encodings" {
  const encodings: import("./paint/encoding.js").Encoding[];
  export default encodings;
}
declare module "registered:styles" {
  const css: string;
  export default css;
}
