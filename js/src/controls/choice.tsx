// Buttons of which one is on, and a button that is on or off.

interface ChoiceProps {
  label: string;
  value: string;
  options: [string, string, string?][]; // key, text, tooltip
  pick: (value: string) => void;
  in_menu?: boolean; // among its items
}

export function Choice({ label, value, options, pick, in_menu }: ChoiceProps) {
  const [role, on] = in_menu ? ["menuitemradio" as const, "aria-checked"] : [undefined, "aria-pressed"];
  return (
    <span class="choice" role="group" aria-label={label}>
      {options.map(([key, text, title]) => (
        <button
          type="button"
          key={key}
          role={role}
          {...{ [on]: key === value }}
          title={title}
          onClick={() => key !== value && pick(key)}
        >
          {text}
        </button>
      ))}
    </span>
  );
}

export function Toggle({ on, text, title, act }: { on: boolean; text: string; title?: string; act: () => void }) {
  return (
    <button type="button" class="toggle" aria-pressed={on} title={title} onClick={act}>
      {text}
    </button>
  );
}
