// The data that a page holds, as src/camcli/sinks/page/cards.py writes it, and what is read off it once.

export type Box = readonly [number, number, number, number];
export interface Moment { frame: number; seconds: number | null }

export interface Entry {
  id: number | null;
  label: string;
  probability: number | null;
  logit: number | null;
  part?: number;
  box?: Box;
  share?: number;
  points?: { name: string; x: number; y: number; score: number | null }[];
  outlines?: number[][];
}

export interface Target extends Entry { name: string; quantity: string; value: number }

export interface Explanation {
  method: string;
  layer: string | null;
  target: Target;
  box?: Box;
  peak: [number, number] | null;
  bbox: Box | null;
  max: number;
  moment?: Moment;
  curve?: number[];
  note?: string;
  files?: Record<string, string>;
  grid?: string;
  picture?: string;
  coarse?: boolean;
}

export interface Card {
  input: string;
  typed?: string;
  moment?: Moment;
  bound?: Record<string, unknown>;
  error?: { stage: string; kind: string; message: string };
  missing?: string;
  clip?: Moment[];
  size: [number, number];
  box: Box;
  run: number;
  truth?: { id: number; label: string };
  correct?: boolean;
  note?: string;
  top: Entry[];
  explanations: Explanation[];
  photo?: string | true;
}

export interface Run { model: string; weights: string; flags?: string; made: string }

interface Report {
  title: string;
  camcli: string;
  colormaps: Record<string, string>;
  cards: Card[];
  runs: Run[];
}

export type Outcome = "right" | "wrong" | "answered" | "refused";

/** A card with what filters and tiles ask of it again and again. */
export interface Item {
  n: number;
  card: Card;
  outcome: Outcome;
  /** The names of what was found: the best class, or every region or detection. */
  classes: string[];
  truth: string;
  /** The best entry's probability, -1 without. */
  confidence: number;
  noted: boolean;
  /** Lower case, for the search. */
  text: string;
}

export const nameOf = (entry: { id: number | null; label: string }): string =>
  entry.id === null ? entry.label : `${entry.id} ${entry.label}`;

export const fileOf = (card: Card): string => {
  const name = card.input.replace(/[/\\]+$/, "").split(/[/\\]/).pop() || card.input;
  return card.moment ? `${name} · ${moment(card.moment)}` : name;
};

export const moment = (at: Moment): string =>
  at.seconds === null ? `frame ${at.frame}` : `frame ${at.frame}, ${at.seconds.toFixed(2)} s`;

export const percent = (share: number): string =>
  share < 0.0005 ? "0 %" : `${(share * 100).toFixed(share < 0.0995 || (share >= 0.995 && share < 0.9995) ? 1 : 0)} %`;

/** The score of an entry in words. */
export const scoreOf = (entry: Entry): string =>
  entry.probability !== null ? percent(entry.probability) : entry.logit !== null ? entry.logit.toPrecision(4) : "";

const isPlaced = (entry: Entry): boolean => entry.box !== undefined || entry.share !== undefined;

function itemOf(card: Card, n: number): Item {
  if (card.error) {
    const text = `${card.input} ${card.error.kind} ${card.error.message}`.toLowerCase();
    return { n, card, outcome: "refused", classes: [], truth: "", confidence: -1, noted: false, text };
  }
  const best = card.top[0];
  const found = best === undefined ? [] : isPlaced(best) ? card.top : [best];
  const notes = [card.note, card.missing, ...card.explanations.map((one) => one.note)].filter(Boolean);
  const said = [card.input, ...card.top.map(nameOf), card.truth ? nameOf(card.truth) : "", ...notes];
  if (card.bound) said.push(...Object.values(card.bound).map(String));
  return {
    n,
    card,
    outcome: card.correct === undefined ? "answered" : card.correct ? "right" : "wrong",
    classes: [...new Set(found.map(nameOf))],
    truth: card.truth ? nameOf(card.truth) : "",
    confidence: best?.probability ?? -1,
    noted: notes.length > 0,
    text: said.join(" ").toLowerCase(),
  };
}

function read(): Report | undefined {
  const inside = document.getElementById("data");
  if (inside !== null) {
    const text = inside.textContent ?? "";
    inside.remove(); // its text would be held twice
    return JSON.parse(text) as Report;
  }
  return (globalThis as { CAMCLI?: Report }).CAMCLI;
}

const from = document.currentScript?.dataset.from ?? "";
const found = read();
/** Why there is nothing to show. */
export const lost = found === undefined ? `The pictures lie beside this page in ${from}, and are not there.` : "";
export const report: Report = found ?? { title: "", camcli: "", colormaps: {}, cards: [], runs: [] };
export const items: Item[] = report.cards.map(itemOf);

/** The address of a card's photo. */
export function photoOf(item: Item): string {
  const { photo } = item.card;
  if (typeof photo === "string") return `data:image/jpeg;base64,${photo}`;
  return photo ? `${from.replace(/[^/]*$/, "")}${String(item.n).padStart(6, "0")}.jpg` : "";
}

/** The end of the scale of all answers of a method at a layer. */
export const runMax = new Map<string, number>();
for (const card of report.cards) {
  for (const one of card.explanations ?? []) {
    const key = scaleKey(one);
    runMax.set(key, Math.max(runMax.get(key) ?? 0, one.max));
  }
}
export function scaleKey(one: Explanation): string {
  return `${one.method}\0${one.layer ?? ""}`;
}
