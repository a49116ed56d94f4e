// One card, large: its picture to zoom, wipe and blink, its answers to choose from, and how to make it again.

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { answers, choose } from "./choose";
import { type Card, type Explanation, fileOf, hasRuns, type Item, items, moment, nameOf, plain, report, runName, scoreOf } from "./data";
import { looks } from "./filters";
import { frameOf, inWords, picture } from "./picture";
import { show, state } from "./state";

const SIDE = 160; // pixels of a map's canvas
const LARGEST = 16;

/** The answer that is shown: the chosen one, else that of the filtered method and layer, else the first. */
export function answerOf(item: Item): number {
  const { explanations } = item.card;
  if (state.answer >= 0 && state.answer < explanations.length) return state.answer;
  return Math.max(0, explanations.indexOf(answers(item)[0]));
}

const isOf = (one: Explanation, name: string): boolean => nameOf(one.target) === name && one.target.part === undefined;

/** The answers of predicted and true class by the same method at the same layer, of a picture that is wrong. */
function pairOf(item: Item): [number, number] | undefined {
  const { explanations, top } = item.card;
  const one = explanations[answerOf(item)];
  if (item.outcome !== "wrong" || one === undefined || top.length === 0) return undefined;
  const same = explanations.filter((other) => other.method === one.method && other.layer === one.layer);
  const [predicted, truth] = [nameOf(top[0]), item.truth].map((name) => same.find((other) => isOf(other, name)));
  return predicted && truth ? [explanations.indexOf(predicted), explanations.indexOf(truth)] : undefined;
}

/** Go so many places on among the chosen cards. */
export function step(by: number): void {
  const { list, place } = choose();
  const now = place.get(state.open);
  const item = now === undefined ? list[0] : list[now + by];
  if (item !== undefined) show({ open: item.n, answer: -1, frame: -1, x: 0, y: 0, zoom: 1 });
}

export const close = (): void => {
  stop();
  show({ open: -1, answer: -1, frame: -1, zoom: 1, x: 0, y: 0, wipe: 0 });
};

/** Larger or smaller by a factor, around a place of the stage (-0.5 to 0.5 from its middle). */
export function zoomBy(factor: number, at: [number, number] = [0, 0]): void {
  const zoom = Math.min(LARGEST, Math.max(1, state.zoom * factor));
  const grown = zoom / state.zoom;
  moveTo(at[0] - (at[0] - state.x) * grown, at[1] - (at[1] - state.y) * grown, zoom);
}

/** The picture moved so far from the middle, in shares of the stage, but never out of it. */
export function moveTo(x: number, y: number, zoom = state.zoom): void {
  const most = (zoom - 1) / 2;
  show({ zoom, x: Math.min(most, Math.max(-most, x)), y: Math.min(most, Math.max(-most, y)) });
}

// A clip's frames, or a film's cards, one after the other.
let playing: ReturnType<typeof setInterval> | undefined;
const isPlaying = (): boolean => playing !== undefined;

function stop(): void {
  clearInterval(playing);
  playing = undefined;
}

function nextOfFilm(item: Item): Item | undefined {
  const { list, place } = choose();
  const next = list[(place.get(item.n) ?? -2) + 1];
  return next?.card.input === item.card.input && next.card.moment ? next : undefined;
}

function gap(item: Item): number {
  const [first, second] = item.card.clip ?? [item.card.moment, nextOfFilm(item)?.card.moment];
  const seconds = (second?.seconds ?? 0) - (first?.seconds ?? 0);
  return Math.min(1000, Math.max(80, seconds * 1000 || 150));
}

export function play(): void {
  const item = items[state.open];
  if (isPlaying() || item === undefined || (!item.card.clip && !item.card.moment)) {
    stop();
    show({});
    return;
  }
  playing = setInterval(() => {
    const now = items[state.open];
    if (now?.card.clip) show({ frame: (frameOf(now, now.card.explanations[answerOf(now)], state.frame) + 1) % now.card.clip.length });
    else {
      const next = now && nextOfFilm(now);
      if (next) show({ open: next.n });
      else { stop(); show({}); }
    }
  }, gap(item));
  show({});
}

/** The next or last answer that differs in its method (or class, or layer). */
export function turn(of: (one: Explanation) => string, by = 1): void {
  const item = items[state.open];
  const one = item?.card.explanations[answerOf(item)];
  if (one === undefined) return;
  const values = [...new Set(item.card.explanations.map(of))];
  const value = values[(values.indexOf(of(one)) + by + values.length) % values.length];
  show({ answer: item.card.explanations.indexOf(nearest(item.card, one, of, value)), ...alone(of) });
}

/** Of both classes side by side another one can't be chosen: then it is shown alone. */
const alone = (of: (one: Explanation) => string): { pair?: false } => (of === byTarget ? { pair: false } : {});

/** The answer with another method (or class, or layer) that is alike in all else, as far as there is one. */
function nearest(card: Card, one: Explanation, of: (one: Explanation) => string, value: string): Explanation {
  const alike = (other: Explanation): number => KEYS.filter((key) => key !== of && key(other) === key(one)).length;
  return card.explanations.filter((other) => of(other) === value).sort((a, b) => alike(b) - alike(a))[0];
}

export const byMethod = (one: Explanation): string => one.method;
export const byTarget = (one: Explanation): string => one.target.name;
export const byLayer = (one: Explanation): string => one.layer ?? "";
const KEYS = [byMethod, byTarget, byLayer];

function switches(item: Item, one: Explanation): TemplateResult[] {
  const { explanations } = item.card;
  return ([["Method", byMethod], ["About", byTarget], ["Layer", byLayer]] as const).flatMap(([label, of]) => {
    const values = [...new Set(explanations.map(of))];
    if (values.length < 2) return [];
    return [html`<fieldset class="switch"><legend>${label}</legend>${values.map((value) => html`
      <button aria-pressed=${value === of(one)} @click=${() => show({ answer: explanations.indexOf(nearest(item.card, one, of, value)), ...alone(of) })}
        >${value || "the input"}</button>`)}</fieldset>`];
  });
}

function stage(item: Item, answer: number, caption: string, frame: number): TemplateResult {
  const [width, height] = item.card.size;
  const one = item.card.explanations[answer] as Explanation | undefined;
  const alt = inWords(item, one);
  return html`<figure class="stage"><div class="window" data-ratio=${width / height} .style=${`--ratio:${width / height}`}>
      <div class="pic large" .style=${`transform:translate(${state.x * 100}%,${state.y * 100}%) scale(${state.zoom});--wipe:${state.wipe}%;aspect-ratio:${width}/${height}`}
        >${picture(item, answer, { side: SIDE, marks: state.marks, frame, alt, isLarge: true })}
        ${state.marks ? hits(item, one) : nothing}
        ${state.wipe > 0 ? html`<span class="edge" .style=${`left:${state.wipe}%`}></span>` : nothing}</div></div>
    <figcaption>${caption}${one?.note ? html`<br><span class="said-of">✎ ${one.note}</span>` : nothing}${one?.coarse ? html` <small>(means of the ${one.bbox === null && one.peak !== null ? "saliency" : "map"}'s cells; more needs --save raw or explain --report)</small>` : nothing}
      ${one?.replaced ? html`<br><span class="said-of">✎ the values that were saved are another run's now: these are the row's own</span>` : nothing}</figcaption></figure>`;
}

/** Boxes to click, over all that was found and has a place. */
function hits(item: Item, one: Explanation | undefined): TemplateResult {
  const { top, explanations, size } = item.card;
  return html`${top.map((entry) => {
    if (entry.box === undefined) return nothing;
    const answer = explanations.findIndex((one) => nameOf(one.target) === nameOf(entry) && one.target.part === entry.part);
    const [x0, y0, x1, y1] = entry.box;
    const words = `${nameOf(entry)}${entry.part ? ` #${entry.part}` : ""} ${scoreOf(entry)}`;
    return html`<button class="hit ${answer >= 0 && explanations[answer] === one ? "chosen" : ""} ${entry.outlines ? "region" : ""}" title=${answer < 0 ? `${words}: not explained` : words} aria-label=${words} ?disabled=${answer < 0}
      .style=${`left:${(x0 / size[0]) * 100}%;top:${(y0 / size[1]) * 100}%;width:${((x1 - x0) / size[0]) * 100}%;height:${((y1 - y0) / size[1]) * 100}%`}
      @click=${() => show({ answer })}><span>${words}</span></button>`;
  })}`;
}

function bars(item: Item, one: Explanation | undefined): TemplateResult {
  const { top, truth, explanations } = item.card;
  const trueName = truth ? nameOf(truth) : "";
  const isThere = top.some((entry) => nameOf(entry) === trueName);
  return html`<ol class="bars">${top.map((entry) => {
    const answer = explanations.findIndex((other) => nameOf(other.target) === nameOf(entry) && other.target.part === entry.part);
    const isShown = one !== undefined && nameOf(one.target) === nameOf(entry) && one.target.part === entry.part;
    const label = html`${nameOf(entry)}${entry.part ? html` <small>#${entry.part}</small>` : nothing}
      ${nameOf(entry) === trueName ? html`<em class="true">true</em>` : nothing}`;
    return html`<li class=${isShown ? "shown" : ""}>${answer >= 0
        ? html`<button class="link" @click=${() => show({ answer, pair: false })}>${label}</button>`
        : html`<span>${label}</span>`}
      <meter min="0" max="1" aria-label=${nameOf(entry)} .value=${entry.probability ?? 0} ?hidden=${entry.probability === null}></meter>
      <b>${scoreOf(entry)}</b></li>`;
  })}${trueName && !isThere ? html`<li class="below"><span>${trueName} <em class="true">true</em></span> <b>not among the best ${top.length}</b></li>` : nothing}</ol>`;
}

/** A caption's words, each a way to its own map. */
function words(item: Item, one: Explanation | undefined): TemplateResult {
  const { explanations, top } = item.card;
  const told = [...top, ...explanations.map((other) => other.target)].filter((entry) => entry.part !== undefined && !entry.box && !entry.outlines);
  const parts = [...new Map(told.map((entry) => [entry.part, entry])).values()].sort((a, b) => (a.part ?? 0) - (b.part ?? 0));
  if (parts.length === 0) return html``;
  return html`<p class="words" aria-label="words">${parts.map((entry) => {
    const answer = explanations.findIndex((other) => other.target.part === entry.part && other.method === one?.method);
    return html`<button aria-pressed=${one?.target.part === entry.part} ?disabled=${answer < 0} @click=${() => show({ answer })}>${entry.label}</button> `;
  })}</p>`;
}

function overTime(item: Item, one: Explanation | undefined, frame: number): TemplateResult {
  const { clip, moment: at } = item.card;
  if (clip === undefined && at === undefined) return html``;
  const button = html`<button @click=${play} aria-pressed=${isPlaying()}>${isPlaying() ? "❚❚ pause" : "▶ play"} <kbd>p</kbd></button>`;
  if (clip === undefined) return html`<div class="time">${button}<span>${moment(at!)}</span></div>`;
  const curve = one?.curve ?? [];
  const most = Math.max(...curve, 1e-12);
  const points = curve.map((value, i) => `${(i / Math.max(1, curve.length - 1)) * 100},${24 - (value / most) * 22}`).join(" ");
  return html`<div class="time">${button}
    <label>${moment(clip[frame])}<input type="range" min="0" max=${clip.length - 1} .value=${String(frame)} aria-label="frame of the clip"
      @input=${(event: Event) => show({ frame: Number((event.target as HTMLInputElement).value) })}></label>
    ${curve.length ? html`<svg viewBox="0 0 100 25" preserveAspectRatio="none" role="img" aria-label="mean of the map over time">
      ${svg`<polyline points=${points}></polyline><line x1=${(frame / Math.max(1, clip.length - 1)) * 100} x2=${(frame / Math.max(1, clip.length - 1)) * 100} y1="0" y2="25"></line>`}</svg>` : nothing}</div>`;
}

function copied(event: Event): void {
  const button = event.currentTarget as HTMLButtonElement;
  const field = button.parentElement?.querySelector<HTMLInputElement | HTMLTextAreaElement>("input, textarea");
  if (!field) return;
  field.select();
  const done = (): void => {
    button.textContent = "copied";
    setTimeout(() => (button.textContent = "copy"), 1500);
  };
  // Pages from a disk may not have the clipboard: then the selected text is copied as a person would.
  const copying = navigator.clipboard?.writeText(field.value) ?? Promise.reject(new Error("no clipboard"));
  copying.then(done, () => document.execCommand("copy") && done());
}

const copyable = (label: string, text: string, field = html`<input readonly .value=${text}>`): TemplateResult =>
  html`<label class="copy">${label}<span>${field}<button @click=${copied}>copy</button></span></label>`;

function command(card: Card, flags: string): TemplateResult {
  const typed = card.typed ?? card.input;
  if (typed === "") return html`<p class="hint">No command makes it again: the file's name is no text.</p>`;
  const text = `${flags} ${typed}`;
  return copyable("Command that makes it again", text, html`<textarea readonly rows="3" spellcheck="false" .value=${text}></textarea>`);
}

function about(item: Item, one: Explanation | undefined): TemplateResult {
  const { card } = item;
  const run = report.runs[card.run];
  const notes = [card.note, card.missing ? `no photo: ${card.missing}` : undefined, card.doubt].filter(Boolean);
  const files = Object.entries(one?.files ?? {});
  return html`
    ${notes.map((note) => html`<p class="note">✎ ${note}</p>`)}
    ${card.bound ? html`<dl>${Object.entries(card.bound).map(([name, value]) => html`<dt>${name}</dt><dd>${typeof value === "string" ? value : JSON.stringify(value)}</dd>`)}</dl>` : nothing}
    ${run?.flags ? command(card, run.flags) : nothing}
    ${copyable("Link to this very view", location.href)}
    ${files.length ? html`<p class="files">Where it was made: ${files.map(([kind, path]) => html`<a href=${path} target="_blank" rel="noopener">${kind}</a> `)}</p>` : nothing}
    ${run ? html`<details><summary>How it was made</summary><p>${run.made}</p><p>${plain(card.input)}, ${card.size.join(" × ")} pixels${one?.layer ? `; layer ${one.layer}` : ""}</p></details>` : nothing}`;
}

function verdict(item: Item): TemplateResult {
  const best = item.card.top[0];
  const predicted = best ? html`<b>${nameOf(best)}</b> ${scoreOf(best)}` : "nothing found";
  if (item.outcome === "wrong") {
    const truth = item.card.top.find((entry) => nameOf(entry) === item.truth);
    return html`<p class="verdict wrong">✗ predicted ${predicted}<br>is <b>${item.truth}</b> ${truth ? scoreOf(truth) : ""}</p>`;
  }
  return html`<p class="verdict ${item.outcome}">${item.outcome === "right" ? "✓ " : ""}${predicted}</p>`;
}

function answered(item: Item): TemplateResult {
  const answer = answerOf(item);
  const one = item.card.explanations[answer] as Explanation | undefined;
  const frame = frameOf(item, one, state.frame);
  const pair = state.pair ? pairOf(item) : undefined;
  const caption = (at: number): string => {
    const own = item.card.explanations[at] as Explanation | undefined;
    return own ? `${own.method} of ${own.target.name}` : "photo";
  };
  return html`<div class="stages">${pair
      ? html`${stage(item, pair[0], `predicted: ${caption(pair[0])}`, frame)}${stage(item, pair[1], `true: ${caption(pair[1])}`, frame)}`
      : stage(item, answer, caption(answer), frame)}</div>
    <aside aria-label="About this picture">${verdict(item)}${words(item, one)}${bars(item, one)}
      ${item.outcome === "wrong" && pairOf(item)
        ? html`<label class="check"><input type="checkbox" name="pair" .checked=${state.pair} @change=${(event: Event) => show({ pair: (event.target as HTMLInputElement).checked })}>
            predicted and true class side by side <kbd>s</kbd></label>`
        : item.outcome === "wrong" && one ? html`<p class="hint">Both classes side by side: run with <code>-c top1 -c folder</code>.</p>` : nothing}
      ${overTime(item, one, frame)}${one ? switches(item, one) : nothing}
      <details class="looks" open><summary>Look</summary>
        <label>Wipe: the photo from the left <output>${state.wipe} %</output><input type="range" name="wipe" min="0" max="100" .value=${String(state.wipe)}
          @input=${(event: Event) => show({ wipe: Number((event.target as HTMLInputElement).value) })}></label>
        <div class="zoom" role="group" aria-label="zoom"><button aria-label="smaller" @click=${() => zoomBy(1 / 1.5)}>−</button>
          <output>${Math.round(state.zoom * 100)} %</output><button aria-label="larger" @click=${() => zoomBy(1.5)}>+</button>
          <button @click=${() => show({ zoom: 1, x: 0, y: 0 })}>whole</button>
          <button class="blink" title="hides the map while it is pressed">blink</button></div>${looks(item.card, one)}</details>
      ${about(item, one)}</aside>`;
}

export function viewer(): TemplateResult {
  const item = items[state.open] as Item | undefined;
  if (item === undefined) return html``;
  const { list, place } = choose();
  const now = place.get(item.n);
  const { error } = item.card;
  return html`<header>
      <button @click=${() => step(-1)} ?disabled=${now === undefined || now === 0} aria-label="the one before">←</button>
      <span class="count">${now === undefined ? "not among the chosen" : `${now + 1} of ${list.length}`}</span>
      <button @click=${() => step(1)} ?disabled=${now === undefined || now === list.length - 1} aria-label="the next one">→</button>
      <h2 id="viewed" title=${plain(item.card.input)}>${fileOf(item.card)}${hasRuns && !error ? html` <small>${runName(item.card.run)}</small>` : nothing}</h2>
      <button class="close" @click=${close} aria-label="close">✕</button></header>
    <div class="body">${error
      ? html`<div class="error"><p class="verdict wrong">⚠ refused: ${error.message}</p>
          <p>${plain(item.card.input)}: ${error.kind}, where it was to be ${{ open: "opened", decode: "decoded", read: "read", predict: "predicted", explain: "explained", write: "written" }[error.stage] ?? error.stage}.</p>
          ${copyable("Link to this very view", location.href)}</div>`
      : answered(item)}</div>`;
}
