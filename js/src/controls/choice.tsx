// One of a few options as a row of buttons; on or off as one.

interface ChoiceProps {
  label: string;
  value: string;
  options: [string, string, string?][]; // key, text, tooltip
  pick: (value: string) => void;
}

export function Choice({ label, value, options, pick }: ChoiceProps) {
  return (
    <span class="choice" role="group" aria-label={label}>
      {options.map(([key, text, title]) => (
        <button type="button" key={key} aria-pressed={key === value} title={title} onClick={() => key !== value && pick(key)}>
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
