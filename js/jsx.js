// What JSX becomes; the build gives it to every file that has some.
export { Fragment, h } from "preact";
