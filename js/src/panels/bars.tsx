// A list row with a bar behind its figure.
import { useEffect, useRef } from "../component.js";

interface BarProps {
  label: string;
  value: number;
  of: number; // the value of a full bar
  text: string;
  colour: "attention" | "residual" | "mlp" | "plain";
  mono?: boolean;
  lit?: boolean;
  onHover?: (over: boolean) => void;
  onPick?: () => void;
}

export function Bar({ label, value, of, text, colour, mono, lit, onHover, onPick }: BarProps) {
  const fill = useRef<HTMLSpanElement>(null);
  const width = of > 0 ? Math.max(0, Math.min(1, value / of)) : 0;
  useEffect(() => {
    if (fill.current) fill.current.style.width = `${(100 * width).toFixed(1)}%`;
  }, [width]);
  const row = (
    <>
      <span class={mono ? "bar-label mono" : "bar-label"} title={label}>
        {label}
      </span>
      <span class="bar-track">
        <span ref={fill} class={`bar-fill ${colour}`} />
      </span>
      <span class="number">{text}</span>
    </>
  );
  const hover = onHover && {
    onPointerEnter: () => onHover(true),
    onPointerLeave: () => onHover(false),
    onFocus: () => onHover(true),
    onBlur: () => onHover(false),
  };
  return (
    <li>
      {onPick ? (
        <button type="button" class={`bar ${lit ? "lit" : ""}`} onClick={onPick} {...hover}>
          {row}
        </button>
      ) : (
        <div class={`bar ${lit ? "lit" : ""}`} {...hover}>
          {row}
        </div>
      )}
    </li>
  );
}
