// Tests find kinds and encodings as the build does.
import { defineConfig } from "vitest/config";
import { registeredForVite } from "./js/registered.mjs";

export default defineConfig({ plugins: [registeredForVite()], define: { LIVE: true } });
