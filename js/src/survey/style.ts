// What the map of a survey looks like; a text, so that it does not go into the flow widget's style sheet.

export default `
:host { all: initial; display: block; }
.root { font: 13px/1.45 system-ui, sans-serif; color: var(--text); background: var(--background); color-scheme: light;
  border: 1px solid var(--line); border-radius: 8px; padding: 12px; font-variant-numeric: tabular-nums; box-sizing: border-box; }
.root.dark { color-scheme: dark; }
.bar { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 4px 16px; margin-bottom: 10px; }
.keep { color: var(--muted); }
.file { font: inherit; margin-left: 4px; padding: 0 8px; color: var(--text); background: none; border: 1px solid var(--line); border-radius: 4px; cursor: pointer; }
.file:hover, .file:focus-visible { outline: 2px solid var(--text); }
select { font: inherit; }
.grid { display: grid; gap: 2px; align-items: center; overflow-x: auto; }
.layer, .head { color: var(--muted); font-size: 11px; text-align: center; }
.cell { --ink: var(--attention); appearance: none; height: 22px; padding: 0; border: 1px solid var(--line); border-radius: 3px; cursor: pointer;
  background: color-mix(in srgb, var(--ink) calc(6% + 94% * var(--much)), var(--background)); }
.cell.below { --ink: var(--mlp); }
.cell.grey { --ink: var(--muted); background: color-mix(in srgb, var(--ink) calc(4% + 30% * var(--much)), var(--background)); }
.cell:hover, .cell:focus-visible, .cell[aria-pressed="true"] { outline: 2px solid var(--text); outline-offset: 0; }
.said, .hint { margin: 8px 0; min-height: 1.4em; }
.hint { color: var(--muted); }
.title { margin: 10px 0 4px; font-size: 13px; }
.examples { margin: 0; padding: 0; list-style: none; max-height: 260px; overflow: auto; }
.example { display: flex; gap: 10px; padding: 2px 0; border-top: 1px solid var(--line); }
.value { flex: 0 0 5em; text-align: right; color: var(--muted); }
.text { all: unset; overflow-wrap: anywhere; }
button.text { cursor: pointer; text-decoration: underline; text-underline-offset: 2px; }
button.text:focus-visible { outline: 2px solid var(--text); }
`;
