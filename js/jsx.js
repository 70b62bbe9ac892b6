// What JSX becomes; the build gives it to every file that has some, by names that nothing in them can hide.
export { Fragment as __fragment, h as __element } from "preact";
