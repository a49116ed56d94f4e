// What is shown now: all of it stands in the page's address, so that a link opens this very view.

export interface State {
  tab: "pictures" | "summary" | "table";
  q: string;
  outcome: "" | "right" | "wrong" | "refused" | "noted";
  run: string;
  cls: string;
  truth: string;
  low: number;
  high: number;
  method: string;
  layer: string;
  sort: string;
  opacity: number;
  colors: string;
  scale: "image" | "run";
  marks: boolean;
  /** The viewer: the open card (-1: none), its answer, and how it is looked at. */
  open: number;
  answer: number;
  pair: boolean;
  wipe: number;
  zoom: number;
  x: number;
  y: number;
  frame: number;
}

export const start: Readonly<State> = {
  tab: "pictures", q: "", outcome: "", run: "", cls: "", truth: "", low: 0, high: 100, method: "", layer: "", sort: "run",
  opacity: 65, colors: "inferno", scale: "image", marks: true,
  open: -1, answer: -1, pair: true, wipe: 0, zoom: 1, x: 0, y: 0, frame: -1,
};

const CHOICES: Partial<Record<keyof State, readonly string[]>> = {
  tab: ["pictures", "summary", "table"],
  outcome: ["", "right", "wrong", "refused", "noted"],
  scale: ["image", "run"],
};

const RANGES: Partial<Record<keyof State, readonly [number, number]>> = {
  low: [0, 100], high: [0, 100], opacity: [0, 100], wipe: [0, 100], zoom: [1, 16], x: [-1, 1], y: [-1, 1],
};

/** The state of an address; what it does not say, or says wrongly, is as at the start. */
export function fromHash(hash: string): State {
  const state: Record<string, unknown> = { ...start };
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const key = name as keyof State;
    const usual = start[key];
    if (typeof usual === "boolean") state[key] = text !== "no";
    else if (typeof usual === "number") {
      const [least, most] = RANGES[key] ?? [-1, Number.MAX_SAFE_INTEGER];
      const value = Number(text);
      if (Number.isFinite(value)) state[key] = Math.min(most, Math.max(least, value));
    } else if (usual !== undefined && (CHOICES[key]?.includes(text) ?? true)) state[key] = text;
  }
  return state as unknown as State;
}

export function toHash(state: State): string {
  const said = new URLSearchParams();
  for (const [name, usual] of Object.entries(start)) {
    const value = state[name as keyof State];
    if (value === usual) continue;
    said.set(name, typeof value === "boolean" ? (value ? "yes" : "no") : typeof value === "number" ? String(+value.toFixed(4)) : value);
  }
  return said.toString();
}

type Listener = () => void;
const listeners: Listener[] = [];
let waiting = false;

export let state: State = fromHash(location.hash);

let isStep = false;

/** Changes what is shown; the page is drawn once before the next frame. Another view can be gone back from. */
export function show(change: Partial<State>): void {
  isStep ||= (change.tab ?? state.tab) !== state.tab || (change.open ?? state.open) >= 0 !== state.open >= 0;
  state = { ...state, ...change };
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const address = `#${toHash(state)}`;
    if (address !== location.hash) history[isStep ? "pushState" : "replaceState"](null, "", address);
    isStep = false;
    for (const listen of listeners) listen();
  });
}

export function onChange(listen: Listener): void {
  listeners.push(listen);
}

for (const moved of ["hashchange", "popstate"]) {
  addEventListener(moved, () => {
    show(fromHash(location.hash));
    isStep = false; // the browser has made that step
  });
}
