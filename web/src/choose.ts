// Which cards are shown, in which order, and how many there would be of each kind.

import { confidenceIn, type Explanation, type Item, items } from "./data";
import { state, type State } from "./state";

type Test = (item: Item, s: State) => boolean;

const TESTS: Record<string, Test> = {
  q: (item, s) => words(s.q).every((word) => item.text.includes(word)),
  outcome: (item, s) => s.outcome === "" || (s.outcome === "noted" ? item.noted : item.outcome === s.outcome),
  run: (item, s) => s.run === "" || String(item.card.run) === s.run,
  cls: (item, s) => s.cls === "" || item.classes.includes(s.cls),
  truth: (item, s) => s.truth === "" || item.truth === s.truth,
  confidence: (item, s) => {
    const share = confidenceIn(item, s.cls) * 100;
    return (s.low === 0 && s.high === 100) || (share >= s.low && (s.high === 100 || share < s.high));
  },
  answer: (item, s) => (s.method === "" && s.layer === "") || answers(item, s).length > 0,
};

const words = (text: string): string[] => text.toLowerCase().split(/\s+/).filter(Boolean);

/** The answers of the chosen method and layer. */
export function answers(item: Item, s: State = state): Explanation[] {
  return (item.card.explanations ?? []).filter(
    (one) => (s.method === "" || one.method === s.method) && (s.layer === "" || one.layer === s.layer),
  );
}

/** The cards that pass all filters, or all but one. */
export function passing(s: State, but = ""): Item[] {
  const tests = Object.entries(TESTS).filter(([name]) => name !== but).map(([, test]) => test);
  return items.filter((item) => tests.every((test) => test(item, s)));
}

const sure = (a: Item, b: Item): number => confidenceIn(b, state.cls) - confidenceIn(a, state.cls);
const ORDERS: Record<string, (a: Item, b: Item) => number> = {
  run: (a, b) => a.n - b.n,
  unsure: (a, b) => sure(b, a),
  sure,
  wrong: (a, b) => Number(b.outcome === "wrong") - Number(a.outcome === "wrong") || sure(a, b),
  name: (a, b) => a.card.input.localeCompare(b.card.input, undefined, { numeric: true }),
};

export const SORTS: [string, string][] = [
  ["run", "as in the run"],
  ["wrong", "wrong ones first"],
  ["unsure", "least confident first"],
  ["sure", "most confident first"],
  ["name", "by name"],
];

export interface Facets {
  outcomes: Record<string, number>;
  runs: Map<string, number>;
  classes: Map<string, number>;
  truths: Map<string, number>;
  methods: Map<string, number>;
  layers: Map<string, number>;
  /** Counts of right, wrong and other cards in 20 steps of confidence. */
  histogram: { right: number; wrong: number; answered: number }[];
}

export interface Chosen { list: Item[]; place: Map<number, number>; facets: Facets }

const STEPS = 20;
let asked = "";
let chosen: Chosen;

/** The chosen cards with their counts; made anew only when a filter has changed. */
export function choose(): Chosen {
  const { q, outcome, run, cls, truth, low, high, method, layer, sort } = state;
  const key = JSON.stringify([q, outcome, run, cls, truth, low, high, method, layer, sort]);
  if (key !== asked) {
    asked = key;
    const list = passing(state).sort(ORDERS[sort] ?? ORDERS.run);
    chosen = { list, place: new Map(list.map((item, place) => [item.n, place])), facets: facets(state) };
  }
  return chosen;
}

function facets(s: State): Facets {
  const outcomes: Record<string, number> = { "": 0, right: 0, wrong: 0, refused: 0, noted: 0 };
  for (const item of passing(s, "outcome")) {
    outcomes[""] += 1;
    if (item.noted) outcomes.noted += 1;
    if (item.outcome !== "answered") outcomes[item.outcome] += 1;
  }
  const histogram = Array.from({ length: STEPS }, () => ({ right: 0, wrong: 0, answered: 0 }));
  for (const item of passing(s, "confidence")) {
    const share = confidenceIn(item, s.cls);
    if (share < 0 || item.outcome === "refused") continue;
    histogram[Math.min(STEPS - 1, Math.floor(share * STEPS))][item.outcome] += 1;
  }
  const answered = passing(s, "answer");
  return {
    outcomes,
    histogram,
    runs: counted(passing(s, "run").filter((item) => item.card.run !== undefined).map((item) => String(item.card.run))),
    classes: counted(passing(s, "cls").flatMap((item) => item.classes)),
    truths: counted(passing(s, "truth").map((item) => item.truth).filter(Boolean)),
    methods: counted(answered.flatMap((item) => unique(item, (one) => one.method))),
    layers: counted(answered.flatMap((item) => unique(item, (one) => one.layer ?? ""))),
  };
}

const unique = (item: Item, of: (one: Explanation) => string): string[] =>
  [...new Set((item.card.explanations ?? []).map(of))].filter(Boolean);

/** How often each is there, the most frequent first. */
function counted(names: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return new Map([...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0], undefined, { numeric: true })));
}
