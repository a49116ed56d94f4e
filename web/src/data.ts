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

/** What is explained; less another class (`contrasted`), or what speaks against it (`negated`). */
export interface Target extends Entry { name: string; quantity: string; value: number; contrasted?: true; negated?: true }

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
  coarse?: true;
  replaced?: true;
}

export interface Card {
  input: string;
  typed?: string;
  moment?: Moment;
  bound?: Record<string, unknown>;
  error?: { stage: string; kind: string; message: string };
  missing?: string;
  doubt?: string;
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
  part: boolean;
  separator: string;
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

/** A name without what turns its letters round: it could pass for another one. */
export const plain = (name: string): string =>
  name.replace(/[\u202a-\u202e\u2066-\u2069]/g, (turn) => `\\u${turn.charCodeAt(0).toString(16)}`);

/** The end of an input's name that no other input has: mostly its file's. */
export const fileOf = (card: Card): string => {
  const parts = partsOf(card);
  let depth = 1;
  while (depth < parts.length && ends.get(endOf(parts, depth)) === "") depth += 1;
  const name = plain(endOf(parts, depth)) || card.input;
  return card.moment ? `${name} · ${moment(card.moment)}` : name;
};

const partsOf = (card: Card): string[] =>
  (report.separator === "/" ? card.input : card.input.replaceAll(report.separator, "/")).replace(/\/+$/, "").split("/");
const endOf = (parts: string[], depth: number): string => parts.slice(-depth).join("/");

export const moment = (at: Moment): string =>
  at.seconds === null ? `frame ${at.frame}` : `frame ${at.frame}, ${at.seconds.toFixed(2)} s`;

export const percent = (share: number): string =>
  share < 0.0005 ? "0 %" : `${(share * 100).toFixed(share < 0.0995 || (share >= 0.995 && share < 0.9995) ? 1 : 0)} %`;

/** The score of an entry in words. */
export const scoreOf = (entry: Entry): string =>
  entry.probability !== null ? percent(entry.probability) : entry.logit !== null ? entry.logit.toPrecision(4) : "";

const isPlaced = (entry: Entry): boolean => entry.box !== undefined || entry.share !== undefined;

/** The probability of the best entry, or of the best one of a class; -1 without. */
export const confidenceIn = (item: Item, cls: string): number =>
  cls === "" ? item.confidence : entryIn(item.card, cls)?.probability ?? -1;
/** The best entry, or the best one of a class. */
export const entryIn = (card: Card, cls: string): Entry | undefined =>
  cls === "" ? card.top[0] : card.top?.find((entry) => nameOf(entry) === cls);

/** All remarks on a card and its answers. */
export const notesOf = (card: Card): string[] =>
  [card.note, card.missing, card.doubt, ...(card.explanations ?? []).map((one) => one.note)].filter((note) => note !== undefined && note !== "") as string[];

function itemOf(card: Card, n: number): Item {
  if (card.error) {
    const text = `${card.input} ${card.error.kind} ${card.error.message}`.toLowerCase();
    return { n, card, outcome: "refused", classes: [], truth: "", confidence: -1, noted: false, text };
  }
  const best = card.top[0];
  const found = best === undefined ? [] : isPlaced(best) ? card.top : [best];
  const notes = notesOf(card);
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
export const report: Report = found ?? { title: "", camcli: "", part: false, separator: "/", colormaps: {}, cards: [], runs: [] };
// The input that ends so, "" if there are several. Of each name so many of its last parts are there as tell it apart from
// those before it, and one more, which tells it apart from those after it.
const ends = new Map<string, string>();
for (const card of report.cards) {
  const parts = partsOf(card);
  for (let depth = 1, isNew = false; depth <= parts.length && !isNew; depth += 1) {
    const end = endOf(parts, depth);
    const known = ends.get(end);
    isNew = known === undefined && depth > 1;
    ends.set(end, known === undefined || known === card.input ? card.input : "");
  }
}
export const items: Item[] = report.cards.map(itemOf);

/** The address of a card's photo. */
export function photoOf(item: Item): string {
  const { photo } = item.card;
  if (typeof photo === "string") return `data:image/jpeg;base64,${photo}`;
  return photo ? `${from.replace(/[^/]*$/, "")}${String(item.n).padStart(6, "0")}.jpg` : "";
}

/** The end of the scale of all answers of a run by a method at a layer. */
const runMax = new Map<string, number>();
const scaleKey = (card: Card, one: Explanation): string => `${card.run}\0${one.method}\0${one.layer ?? ""}`;
for (const card of report.cards) {
  for (const one of card.explanations ?? []) {
    const key = scaleKey(card, one);
    runMax.set(key, Math.max(runMax.get(key) ?? 0, one.max));
  }
}
export const runMaxOf = (card: Card, one: Explanation): number => runMax.get(scaleKey(card, one)) || 1;

/** The page holds several runs: their answers are not to be counted together. */
export const hasRuns = report.runs.length > 1;
/** What a run is called: its model, with weights and number if it takes those to tell it from the others. */
export const runName = (n: number): string => {
  const run = report.runs[n];
  if (run === undefined) return "";
  const names = [run.model, `${run.model} (${run.weights})`, `${n + 1}: ${run.model} (${run.weights})`];
  const same = report.runs.filter((other) => other.model === run.model);
  return names[same.length === 1 ? 0 : same.filter((other) => other.weights === run.weights).length === 1 ? 1 : 2];
};

/** How many cards, and of how many pictures if those are fewer. */
export const counted = (list: Item[]): string => {
  const pictures = hasRuns ? new Set(list.map(({ card }) => JSON.stringify([card.input, card.moment, card.bound]))).size : list.length;
  return pictures === list.length ? `${list.length} pictures` : `${list.length} answers about ${pictures} pictures`;
};
