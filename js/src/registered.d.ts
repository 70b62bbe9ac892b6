// What the build finds in folders (js/registered.mjs).
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
