// What JSX compiles to; the build puts it in front of every file.
export { Fragment as jsxFragment } from "preact";
export { element as jsxElement } from "./component.js";
