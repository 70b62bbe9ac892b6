// What JSX compiles to; the build puts it in front of every file.
export { Fragment as jsxFragment, h as jsxElement } from "preact";
