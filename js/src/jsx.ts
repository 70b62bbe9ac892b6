// What JSX compiles to; the build puts it in front of every file.
export { element as jsxElement, Fragment as jsxFragment } from "./dom/render.js";
