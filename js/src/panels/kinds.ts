// The kinds of questions that the build found, by their names.
import kinds from "registered:kinds";
import { byKind } from "../core/select.js";

export const KINDS = byKind(kinds);
