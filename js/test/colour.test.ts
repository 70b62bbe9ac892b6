import { describe, expect, test } from "vitest";
import { contrast, DARK, deltaE, LIGHT, mix, type Vision } from "../src/paint/colour.js";
import { heatTable, sequential, signed } from "../src/paint/ramps.js";

const VISIONS: Vision[] = ["normal", "protan", "deutan", "tritan"];

describe.each([
  ["light", LIGHT, 27],
  ["dark", DARK, 30],
] as const)("the %s palette", (_, p, least) => {
  test("kinds of lines stay apart for every kind of colour vision", () => {
    const colours = [p.attention, p.residual, p.mlp, p.selection];
    let worst = Number.POSITIVE_INFINITY;
    for (const vision of VISIONS) {
      colours.forEach((a, i) => {
        for (const b of colours.slice(i + 1)) worst = Math.min(worst, deltaE(a, b, vision));
      });
    }
    expect(Math.round(worst)).toBeGreaterThanOrEqual(least); // CIE 1976 over Machado's matrices gives 26.94 and 30.9
  });

  test("for, against, gained and lost stay apart from each other and from all kinds of lines", () => {
    const colours = [p.attention, p.residual, p.mlp, p.selection, p.plus, p.minus, p.gained, p.lost, p.background];
    for (const vision of VISIONS) {
      for (const [i, a] of colours.entries()) {
        for (const b of colours.slice(i + 1)) expect(deltaE(a, b, vision), `${a} ${b} ${vision}`).toBeGreaterThan(23);
      }
    }
  });

  test("text is readable", () => {
    expect(contrast(p.text, p.background)).toBeGreaterThan(10);
    expect(contrast(p.muted, p.background)).toBeGreaterThan(4.5);
    expect(contrast(p.muted, p.panel)).toBeGreaterThan(4.5);
    for (const line of [p.attention, p.residual, p.mlp]) expect(contrast(line, p.background)).toBeGreaterThan(3);
  });

  test("ramps begin at the background and grow steadily away from it", () => {
    const steps = Array.from({ length: 11 }, (_, i) => deltaE(sequential(p, i / 10), p.background));
    for (let i = 1; i < steps.length; i++) expect(steps[i]).toBeGreaterThan(steps[i - 1]);
    expect(deltaE(signed(p, 1), signed(p, -1))).toBeGreaterThan(40);
    expect(heatTable(p).length).toBe(256);
  });
});

test("mixing keeps the ends", () => {
  expect(mix("#102030", "#ffffff", 0)).toBe("#102030");
  expect(mix("#102030", "#ffffff", 1)).toBe("#ffffff");
});
