// The controls beside the tiles: search, order, filters with their counts, and how maps look.

import { html, nothing, type TemplateResult } from "lit-html";
import { type Facets, SORTS } from "./choose";
import { type Card, type Explanation, hasRuns, items, report, runMaxOf, runName } from "./data";
import { show, start, state, type State } from "./state";

const OUTCOMES: [State["outcome"], string][] = [
  ["", "all"], ["wrong", "wrong"], ["right", "right"], ["refused", "refused"], ["noted", "with a note"],
];

const isTruthKnown = items.some((item) => item.truth !== "");
const hasPlaces = items.some((item) => item.card.top?.some((entry) => entry.box || entry.outlines));
const isMany = (values: Map<string, number>, chosen: string): boolean => values.size > 1 || chosen !== "";

const value = (event: Event): string => (event.target as HTMLInputElement).value;

function choice(
  label: string, key: "run" | "cls" | "truth" | "method" | "layer", counts: Map<string, number>, called = (name: string): string => name,
): TemplateResult {
  const chosen = state[key];
  return html`<label>${label}
    <select name=${key} @change=${(event: Event) => show({ [key]: value(event) })}>
      <option value="" ?selected=${chosen === ""}>all</option>
      ${chosen !== "" && !counts.has(chosen) ? html`<option value=${chosen} selected>${called(chosen)} (0)</option>` : nothing}
      ${[...counts].map(([name, count]) => html`<option value=${name} ?selected=${name === chosen}>${called(name)} (${count})</option>`)}
    </select></label>`;
}

/** Counts of cards by confidence; a click on a step chooses it. */
export function histogram(facets: Facets, tall = false): TemplateResult {
  const steps = facets.histogram;
  const most = Math.max(1, ...steps.map((step) => step.right + step.wrong + step.answered));
  const width = 100 / steps.length;
  return html`<div class="histogram ${tall ? "tall" : ""}" role="group" aria-label="Histogram of confidence">
    ${steps.map((step, i) => {
      const [low, high] = [Math.round(i * width), Math.round((i + 1) * width)];
      const all = step.right + step.wrong + step.answered;
      const isChosen = state.low <= low && state.high >= high;
      const said = `${low} to ${high} %: ${all}${step.wrong ? `, ${step.wrong} wrong` : ""}`;
      return html`<button class=${isChosen ? "chosen" : ""} title=${said} aria-label=${said} tabindex="-1" ?disabled=${all === 0}
          @click=${() => show(state.low === low && state.high === high ? { low: 0, high: 100 } : { low, high })}>
        <span class="answered" .style=${`height:${(step.answered / most) * 100}%`}></span>
        <span class="wrong" .style=${`height:${(step.wrong / most) * 100}%`}></span>
        <span class="right" .style=${`height:${(step.right / most) * 100}%`}></span></button>`;
    })}</div>`;
}

/** The filters that are on, in words. */
export function said(): string {
  const { q, outcome, run, cls, truth, low, high, method, layer } = state;
  const range = low > 0 || high < 100 ? `confidence ${low} to ${high} %` : "";
  return [
    outcome === "noted" ? "with a note" : outcome, run && runName(Number(run)), cls && `predicted ${cls}`, truth && `truly ${truth}`, range,
    method, layer && `layer ${layer}`, q && `“${q}”`,
  ].filter(Boolean).join(", ");
}

/** A filter is chosen that hides cards. */
export const isFiltered = (): boolean => said() !== "";

export const noFilters = (): void => {
  const { q, outcome, run, cls, truth, low, high, method, layer } = start;
  show({ q, outcome, run, cls, truth, low, high, method, layer });
};

export function filters(facets: Facets): TemplateResult {
  return html`
    <label>Search <kbd>/</kbd>
      <input type="search" id="search" placeholder="file, class, note" .value=${state.q}
        @input=${(event: Event) => show({ q: value(event) })}></label>
    <label>Order
      <select name="sort" @change=${(event: Event) => show({ sort: value(event) })}>
        ${SORTS.map(([key, label]) => html`<option value=${key} ?selected=${key === state.sort}>${label}</option>`)}
      </select></label>
    <fieldset class="outcomes"><legend>Show</legend>
      ${OUTCOMES.filter(([key]) => facets.outcomes[key] > 0 || key === state.outcome || key === "").map(
        ([key, label]) => html`<label class="chip ${key}"><input type="radio" name="outcome" .checked=${state.outcome === key}
          @change=${() => show({ outcome: key })}>${label} <b>${facets.outcomes[key]}</b></label>`,
      )}</fieldset>
    ${hasRuns ? choice("Run", "run", facets.runs, (n) => runName(Number(n))) : nothing}
    ${isMany(facets.classes, state.cls) ? choice(isTruthKnown ? "Predicted" : "Class", "cls", facets.classes) : nothing}
    ${isTruthKnown ? choice("True class", "truth", facets.truths) : nothing}
    <fieldset><legend>Confidence ${state.low}–${state.high} %</legend>
      ${histogram(facets)}
      <div class="range">
        <input type="range" min="0" max="100" aria-label="least confidence in percent" .value=${String(state.low)}
          @input=${(event: Event) => show({ low: Math.min(Number(value(event)), state.high) })}>
        <input type="range" min="0" max="100" aria-label="largest confidence in percent" .value=${String(state.high)}
          @input=${(event: Event) => show({ high: Math.max(Number(value(event)), state.low) })}>
      </div></fieldset>
    ${isMany(facets.methods, state.method) ? choice("Method", "method", facets.methods) : nothing}
    ${isMany(facets.layers, state.layer) ? choice("Layer", "layer", facets.layers) : nothing}
    ${isFiltered() ? html`<button class="plain" @click=${noFilters}>Show all pictures</button>` : nothing}
    <hr>${looks()}`;
}

/** How maps are drawn: in general, or those of an answer. */
export function looks(card?: Card, one?: Explanation): TemplateResult {
  const end = state.scale === "run" ? "the run's largest value" : "the picture's largest value";
  const most = card && one ? (state.scale === "run" ? runMaxOf(card, one) : one.max).toPrecision(3) : "";
  return html`
    <label>Opacity of the map <output>${state.opacity} %</output>
      <input type="range" min="0" max="100" name="opacity" .value=${String(state.opacity)}
        @input=${(event: Event) => show({ opacity: Number(value(event)) })}></label>
    ${one?.picture ? html`<div class="legend"><canvas class="scale" data-colors="gray" width="256" height="1" role="img" aria-label="dark for negative, grey for zero, bright for positive values"></canvas>
      <span>negative</span><span>0</span><span>positive</span></div>` : html`
    <label>Colours
      <select name="colors" @change=${(event: Event) => show({ colors: value(event) })}>
        ${Object.keys(report.colormaps).map((name) => html`<option ?selected=${name === state.colors}>${name}</option>`)}
      </select></label>
    <label>Scale ends at
      <select name="scale" @change=${(event: Event) => show({ scale: value(event) as State["scale"] })}>
        <option value="image" ?selected=${state.scale === "image"}>each picture's maximum</option>
        <option value="run" ?selected=${state.scale === "run"}>the run's maximum</option>
      </select></label>
    <div class="legend"><canvas class="scale" width="256" height="1" role="img" aria-label="colours from zero to the largest value"></canvas>
      <span>0</span><span>${end}${most && `, ${most}`}</span></div>`}
    <label class="check"><input type="checkbox" name="marks" .checked=${state.marks}
      @change=${(event: Event) => show({ marks: (event.target as HTMLInputElement).checked })}> Outlines</label>
    <ul class="marked"><li><i class="seen"></i>what the network saw</li>
      ${hasPlaces ? html`<li><i class="found"></i>what was found; thick: what is explained</li>` : nothing}
      ${one?.bbox ? html`<li><i class="bbox"></i>the largest connected part above 15 % of the largest value</li>` : nothing}</ul>`;
}
