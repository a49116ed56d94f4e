// The chosen cards together: numbers, confidence, which classes are taken for which, and each class's mean map.

import { html, nothing, type TemplateResult } from "lit-html";
import { answers, type Chosen } from "./choose";
import { confidenceIn, type Explanation, hasRuns, type Item, nameOf, percent, runName } from "./data";
import { histogram } from "./filters";
import { colour, gridOf, spread } from "./paint";
import { show, state } from "./state";

const MATRIX = 24; // more classes than these are told as pairs alone
const PAIRS = 60;
const CLASSES = 40;
const SIDE = 28; // cells of a mean map

/** `scored`: those whose entry has a probability, of which `confidence` is the sum. */
interface Class { name: string; found: number; right: number; scored: number; confidence: number }

function classesOf(list: Item[]): Class[] {
  const found = new Map<string, Class>();
  for (const item of list) {
    for (const name of item.classes) {
      const own = found.get(name) ?? { name, found: 0, right: 0, scored: 0, confidence: 0 };
      const share = confidenceIn(item, name);
      own.found += 1;
      own.scored += Number(share >= 0);
      own.confidence += Math.max(0, share);
      own.right += Number(item.outcome === "right");
      found.set(name, own);
    }
  }
  return [...found.values()].sort((a, b) => b.found - a.found);
}

const wayOf = (one: Explanation): string => (one.layer ? `${one.method} at ${one.layer}` : one.method);
/** The answers that a mean can be of: maps of what speaks for a class. */
const meant = (item: Item): Explanation[] => answers(item).filter((one) => one.grid && !one.target.contrasted && !one.target.negated);

/** The methods with their layers, the most frequent first: maps of several have no mean. */
function waysOf(list: Item[]): string[] {
  const counts = new Map<string, number>();
  for (const item of list) for (const one of meant(item)) counts.set(wayOf(one), (counts.get(wayOf(one)) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]).map(([way]) => way);
}

interface Mean { mean: Float32Array; count: number }

/** The mean of the answers about each class in one way, each a share of its own maximum, over the network's view. Where
 * the truth is known, of right and wrong pictures apart: keys begin with the outcome. */
function meansOf(list: Item[], names: Set<string>, way: string): Map<string, Mean> {
  const means = new Map<string, Mean>();
  for (const item of list) {
    for (const one of meant(item)) {
      if (wayOf(one) !== way) continue;
      const name = `${item.outcome} ${nameOf(one.target)}`;
      if (!item.classes.includes(nameOf(one.target))) continue; // the true class of a wrong picture is not what it found
      const grid = names.has(name) ? gridOf(one) : undefined;
      if (grid === undefined) continue;
      const own = means.get(name) ?? { mean: new Float32Array(SIDE * SIDE), count: 0 };
      const values = spread(grid, SIDE, SIDE);
      for (let i = 0; i < values.length; i += 1) own.mean[i] += values[i];
      own.count += 1;
      means.set(name, own);
    }
  }
  for (const own of means.values()) for (let i = 0; i < own.mean.length; i += 1) own.mean[i] /= own.count;
  return means;
}

const pairsOf = (list: Item[]): [string, string, number][] => {
  const counts = new Map<string, number>();
  for (const item of list) {
    if (item.truth === "" || item.classes.length === 0) continue;
    const key = `${item.truth}\0${item.classes[0]}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => [...key.split("\0"), count] as [string, string, number]).sort((a, b) => b[2] - a[2]);
};

const open = (truth: string, cls: string): void => show({ truth, cls, tab: "pictures" });

function matrix(pairs: [string, string, number][]): TemplateResult {
  const names = [...new Set(pairs.flatMap(([truth, cls]) => [truth, cls]))].sort((a, b) =>
    a.localeCompare(b, undefined, { numeric: true }));
  if (names.length > MATRIX) return html``;
  const counts = new Map(pairs.map(([truth, cls, count]) => [`${truth}\0${cls}`, count]));
  const most = Math.max(...pairs.map(([, , count]) => count));
  return html`<p>Rows: true class. Columns: predicted class. A click shows the pictures.</p><div class="scroll"><table class="matrix" aria-label="true class by predicted class">
    <tr><td></td>${names.map((name) => html`<th scope="col"><span>${name}</span></th>`)}</tr>
    ${names.map((truth) => html`<tr><th scope="row">${truth}</th>${names.map((cls) => {
      const count = counts.get(`${truth}\0${cls}`) ?? 0;
      return html`<td>${count
        ? html`<button class=${truth === cls ? "right" : "wrong"} .style=${`--share:${(0.15 + (0.85 * count) / most).toFixed(2)}`}
            aria-label=${`${count} of ${truth} taken for ${cls}`} @click=${() => open(truth, cls)}>${count}</button>`
        : nothing}</td>`;
    })}</tr>`)}</table></div>`;
}

function confusion(list: Item[]): TemplateResult {
  const pairs = pairsOf(list);
  const mistaken = pairs.filter(([truth, cls]) => truth !== cls);
  if (pairs.length === 0) return html``;
  return html`<section class="half"><h2>Confusions</h2>${matrix(pairs)}
    ${mistaken.length === 0
      ? html`<p>No picture is wrong.</p>`
      : html`<ul class="pairs">${mistaken.slice(0, PAIRS).map(
          ([truth, cls, count]) => html`<li><button @click=${() => open(truth, cls)}><b>${count}</b> ${truth} → ${cls}</button></li>`,
        )}</ul>${mistaken.length > PAIRS ? html`<p>… and ${mistaken.length - PAIRS} more pairs.</p>` : nothing}`}</section>`;
}

const number = (label: string, said: string | number): TemplateResult => html`<div class="number"><b>${said}</b> ${label}</div>`;

/** The numbers of each run: those of several are not one number. */
function runs({ list, facets }: Chosen): TemplateResult {
  return html`<div class="summary"><section><h2>Runs</h2>
    <p>Choose a run to see its classes, its confidence and what it mistakes.</p>
    <ul class="pairs">${[...facets.runs.keys()].map((run) => {
      const own = list.filter((item) => String(item.card.run) === run);
      const [right, wrong] = ["right", "wrong"].map((outcome) => own.filter((item) => item.outcome === outcome).length);
      return html`<li><button @click=${() => show({ run })}><b>${own.length}</b> ${runName(Number(run))}${
        right + wrong ? html`: ${percent(right / (right + wrong))} right` : nothing}</button></li>`;
    })}</ul></section></div>`;
}

export function summary(chosen: Chosen): TemplateResult {
  if (hasRuns && state.run === "") return runs(chosen);
  const { list, facets } = chosen;
  const ways = waysOf(list);
  const count = (outcome: string): number => list.filter((item) => item.outcome === outcome).length;
  const [right, wrong, refused] = [count("right"), count("wrong"), count("refused")];
  const classes = classesOf(list);
  const isKnown = right + wrong > 0;
  const outcomes = isKnown ? ["right", "wrong"] : ["answered"];
  const truly = new Map<string, number>();
  for (const item of list) truly.set(item.truth, (truly.get(item.truth) ?? 0) + 1);
  return html`<div class="summary">
    <section class="numbers" aria-label="Numbers">
      ${number("pictures", list.length)}${isKnown ? html`${number("right", right)}${number("wrong", wrong)}
      ${number("of them right", percent(right / (right + wrong)))}` : nothing}${number("refused", refused)}${number("classes", classes.length)}
    </section>
    <section class="half"><h2>Confidence</h2>${histogram(facets, true)}<div class="ends"><span>0 %</span>
      ${isKnown ? html`<span class="key"><i class="right"></i> right <i class="wrong"></i> wrong</span>` : nothing}<span>100 %</span></div></section>
    ${confusion(list)}
    <section><h2>Classes</h2>
      ${ways.length ? html`<p>Each map is the mean of the class's maps over what the network saw, by ${ways[0]}${ways.length > 1 ? "; choose another one beside" : ""}.
        A spot that does not move with the subject is a hint that the network looks at something else.</p>` : nothing}
      <ul class="classes">${classes.slice(0, CLASSES).map((own) => html`<li><button @click=${() => show({ cls: own.name, tab: "pictures" })}>
        ${outcomes.map((outcome) => html`<span class="mean-of" ?hidden=${ways.length === 0}><canvas class="mean" data-name=${`${outcome} ${own.name}`} width=${SIDE} height=${SIDE} role="img"
          aria-label=${`mean map of ${own.name}${isKnown ? `, ${outcome} ones` : ""}`}></canvas>${isKnown ? outcome : ""} <span class="of"></span></span>`)}
        <span><b>${own.name}</b><br>predicted ${own.found}${isKnown ? html`, ${own.right} of them rightly<br>truly ${truly.get(own.name) ?? 0}` : nothing}${own.scored ? html`<br>mean confidence ${percent(own.confidence / own.scored)}` : nothing}</span></button></li>`)}</ul>
      ${classes.length > CLASSES ? html`<p>… and ${classes.length - CLASSES} rarer classes.</p>` : nothing}</section></div>`;
}

const drawn = new WeakMap<ParentNode, Chosen>();
/** Paints the mean maps of the summary that is there. */
export function paintMeans(root: ParentNode, chosen: Chosen): void {
  const key = state.colors;
  const canvases = [...root.querySelectorAll<HTMLCanvasElement>("canvas.mean")];
  const summary = root.querySelector<HTMLElement>(".summary");
  if (canvases.length === 0 || (drawn.get(root) === chosen && summary?.dataset.key === key)) return;
  drawn.set(root, chosen);
  const means = meansOf(chosen.list, new Set(canvases.map((canvas) => canvas.dataset.name ?? "")), waysOf(chosen.list)[0] ?? "");
  for (const canvas of canvases) {
    const own = means.get(canvas.dataset.name ?? "");
    canvas.classList.toggle("none", own === undefined);
    const of = canvas.parentElement?.querySelector(".of");
    if (of) of.textContent = own ? `(${own.count})` : "";
    if (own) colour(canvas, own.mean, state.colors, 255 / Math.max(1, ...own.mean));
  }
  if (summary) summary.dataset.key = key;
}
