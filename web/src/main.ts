// The page: a bar above, controls beside, and in the middle tiles, a summary or a table; the viewer lies over them.

import { html, nothing, render, type TemplateResult } from "lit-html";
import { choose } from "./choose";
import { counted, items, lost, report } from "./data";
import { filters, isFiltered, noFilters, said } from "./filters";
import { Grid, tile } from "./grid";
import { paintAll, paintScales } from "./paint";
import { onChange, show, state, type State } from "./state";
import { paintMeans, summary } from "./summary";
import { table } from "./table";
import { byLayer, byMethod, byTarget, close, moveTo, play, step, turn, viewer, zoomBy } from "./viewer";

const ON_PAPER = 100;
const STOPPED = "The run was stopped before its end: these are the pictures that it got to.";
const app = document.getElementById("app") as HTMLElement;
const TABS: [State["tab"], string][] = [["pictures", "Pictures"], ["summary", "Summary"], ["table", "Table"]];

const KEYS: [string, [string, string][]][] = [
  ["Everywhere", [["/", "search"], ["h, held", "the photos without their maps"], ["[ ]", "less, more opacity"], ["b", "outlines on or off"], ["?", "these keys"]]],
  ["In the tiles", [["arrows, Page, Home, End", "from tile to tile"], ["Enter", "open it"]]],
  ["In an open picture", [["← or k, → or j", "the one before, the next one"], ["Esc", "close"], ["Space, held", "the photo without its map"],
    ["w", "wipe: half of the photo without the map"], ["+ − 0", "larger, smaller, whole"], ["Shift + arrows", "move the enlarged picture"],
    ["m c l", "next method, class, layer, if there are several"], ["s", "predicted and true class of a wrong picture side by side"], ["p", "play a clip or a film"]]],
];

function theme(): void {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).getPropertyValue("color-scheme").trim() === "dark" ||
    (root.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "light" : "dark";
}

const models = (): string => [...new Set(report.runs.map((run) => `${run.model} (${run.weights})`))].join(", ");

function skip(event: Event): void {
  event.preventDefault();
  if (state.tab === "pictures") grid?.focus();
  else document.getElementById("main")?.focus();
}

function page(): TemplateResult {
  const chosen = choose();
  return html`
    <header class="bar"><h1>${report.title}</h1><p class="model" title=${models()}>${models()}</p>
      <nav aria-label="views">${TABS.map(([tab, label]) => html`<button aria-current=${state.tab === tab ? "page" : "false"} @click=${() => show({ tab })}>${label}</button>`)}</nav>
      <p class="counts" role="status" aria-live="polite">${chosen.list.length === items.length ? counted(items) : `${chosen.list.length} of ${counted(items)}`}</p>
      <a class="skip" href="#main" @click=${skip}>to the pictures</a>
      <button class="icon" @click=${theme} aria-label="dark or light" title="dark or light">◐</button>
      <button class="icon" @click=${help} aria-label="keys" title="keys">?</button></header>
    <div class="below"><details class="side" open><summary>Filters${isFiltered() ? " (some are on)" : ""}</summary><div class="controls" role="search" aria-label="filters and look">${filters(chosen.facets)}</div></details>
      <main id="main" tabindex="-1">
        ${report.part ? html`<p class="only"><span class="said-of">${STOPPED}</span></p>` : nothing}
        ${isFiltered() ? html`<p class="only">Only ${said()}: ${chosen.list.length} of ${items.length}.</p>` : nothing}
        <ul id="tiles" role="list" ?hidden=${state.tab !== "pictures"}></ul>
        ${chosen.list.length === 0
          ? html`<div class="none"><p>No picture is like that.</p><button class="plain" @click=${noFilters}>Show all pictures</button></div>`
          : state.tab === "summary" ? summary(chosen) : state.tab === "table" ? table(chosen, draw) : nothing}
      </main></div>
    <dialog id="viewer" aria-labelledby="viewed" @close=${() => state.open >= 0 && close()} @cancel=${(event: Event) => { event.preventDefault(); close(); }}></dialog>
    <dialog id="help" aria-label="keys"><form method="dialog"><h2>Keys</h2>${KEYS.map(([where, keys]) => html`<h3>${where}</h3><dl>${keys.map(([key, does]) => html`<dt><kbd>${key}</kbd></dt><dd>${does}</dd>`)}</dl>`)}
      <button autofocus>close</button></form></dialog>
    <footer>made by camcli ${report.camcli}; nothing on this page leaves it</footer>`;
}

const dialog = (id: string): HTMLDialogElement => document.getElementById(id) as HTMLDialogElement;
const help = (): void => dialog("help").showModal();

let grid: Grid | undefined;
let wasOpen = -1;

function draw(): void {
  render(page(), app);
  const view = dialog("viewer");
  const isOpen = state.open >= 0 && state.open < items.length;
  render(isOpen ? viewer() : nothing, view);
  if (isOpen && !view.open) view.showModal();
  if (!isOpen && view.open) view.close();
  if (state.tab === "pictures") {
    grid ??= new Grid(document.getElementById("main") as HTMLElement, document.getElementById("tiles") as HTMLElement);
    grid.draw();
    const place = choose().place.get(wasOpen);
    if (!isOpen && place !== undefined) grid.focus(place); // where the reader was
  }
  wasOpen = isOpen ? state.open : -1;
  paintAll(app);
  paintScales(app);
  if (state.tab === "summary") paintMeans(app, choose());
}

const half = (): void => show({ wipe: state.wipe === 0 ? 50 : 0 });
const by = (x: number, y: number): void => moveTo(state.x + x, state.y + y);

const IN_VIEWER: Record<string, () => void> = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), k: () => step(-1), j: () => step(1),
  w: half, "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), "0": () => show({ zoom: 1, x: 0, y: 0 }),
  m: () => turn(byMethod), c: () => turn(byTarget), l: () => turn(byLayer), s: () => show({ pair: !state.pair }),
  p: play,
};
const EVERYWHERE: Record<string, () => void> = {
  "[": () => show({ opacity: Math.max(0, state.opacity - 10) }), "]": () => show({ opacity: Math.min(100, state.opacity + 10) }),
  b: () => show({ marks: !state.marks }), h: () => isBlinking(true), "?": () => help(),
};
const MOVES: Record<string, () => void> = {
  ArrowLeft: () => by(0.1, 0), ArrowRight: () => by(-0.1, 0), ArrowUp: () => by(0, 0.1), ArrowDown: () => by(0, -0.1),
};

/** Whether a control that is no text needs the key itself: a list any key, a slider and a choice of one the arrows. */
const takes = (target: EventTarget | null, key: string): boolean =>
  target instanceof HTMLSelectElement && key !== "?"
  || target instanceof HTMLInputElement && (key === " " || target.type !== "checkbox" && key.startsWith("Arrow"));
const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement && ["search", "text"].includes(target.type);

const isBlinking = (on: boolean): void => void document.documentElement.classList.toggle("blinking", on);

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || dialog("help")?.open) return;
  const isOpen = state.open >= 0;
  if (isTyping(event.target)) return;
  const isFree = !takes(event.target, event.key);
  const inViewer = isOpen && isFree ? (event.shiftKey && MOVES[event.key]) || IN_VIEWER[event.key] : undefined;
  const action = inViewer ?? (isFree ? EVERYWHERE[event.key] : undefined);
  if (action !== undefined) {
    event.preventDefault();
    action();
  } else if (event.key.startsWith("Arrow") && event.target === document.body && !isOpen) grid?.focus();
  else if (event.key === "/" && !isOpen) {
    event.preventDefault();
    document.querySelector<HTMLDetailsElement>(".side")!.open = true;
    document.getElementById("search")?.focus();
  } else if (isOpen && isFree && event.key === " " && !(event.target instanceof HTMLButtonElement || event.target instanceof HTMLElement && event.target.tagName === "SUMMARY")) {
    event.preventDefault();
    isBlinking(true);
  }
});
addEventListener("keyup", (event) => [" ", "h"].includes(event.key) && isBlinking(false));

// Zoom by wheel or pinch, move by drag, wipe by the edge's drag, and blink while its button is pressed.
const held = new Map<number, [number, number]>();
const isEdge = (target: EventTarget | null): target is Element => target instanceof Element && target.matches(".edge");
const stageOf = (target: EventTarget | null): Element | null => (target instanceof Element ? target.closest(".window") : null);

function within(stage: Element, x: number, y: number): [number, number] {
  const box = stage.getBoundingClientRect();
  return [(x - box.left) / box.width - 0.5, (y - box.top) / box.height - 0.5];
}

addEventListener("wheel", (event) => {
  const stage = stageOf(event.target);
  if (stage === null) return;
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY / 400), within(stage, event.clientX, event.clientY));
}, { passive: false });

addEventListener("pointerdown", (event) => {
  if (event.target instanceof Element && event.target.closest(".blink")) isBlinking(true);
  if (isEdge(event.target)) event.target.setPointerCapture(event.pointerId);
  else if (stageOf(event.target)) held.set(event.pointerId, [event.clientX, event.clientY]);
});
for (const ending of ["pointerup", "pointercancel"] as const) {
  addEventListener(ending, (event) => {
    held.delete(event.pointerId);
    isBlinking(false);
  });
}
addEventListener("pointermove", (event) => {
  if (isEdge(event.target) && event.target.hasPointerCapture(event.pointerId)) {
    const box = event.target.parentElement!.getBoundingClientRect();
    // Not to 0: the edge would go while it is held.
    show({ wipe: Math.round(Math.min(100, Math.max(1, ((event.clientX - box.left) / box.width) * 100))) });
    return;
  }
  const stage = stageOf(event.target);
  const before = held.get(event.pointerId);
  if (stage === null || before === undefined) return;
  const now: [number, number] = [event.clientX, event.clientY];
  const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
  if (other !== undefined) {
    const far = (one: [number, number]): number => Math.hypot(one[0] - other[0], one[1] - other[1]);
    zoomBy(far(now) / Math.max(1, far(before)), within(stage, (now[0] + other[0]) / 2, (now[1] + other[1]) / 2));
  } else {
    const box = stage.getBoundingClientRect();
    moveTo(state.x + (now[0] - before[0]) / box.width, state.y + (now[1] - before[1]) / box.height);
  }
  held.set(event.pointerId, now);
});

// On paper: the first of the chosen cards, all of them there at once.
const paper = document.createElement("section");
paper.id = "paper";
addEventListener("beforeprint", () => {
  const { list } = choose();
  document.body.append(paper);
  const first = list.slice(0, ON_PAPER);
  const which = isFiltered() ? `; only ${said()}: ${list.length} of ${items.length}` : "";
  render(html`<h1>${report.title}</h1><p class="about">${models()}${which}</p>
    ${state.tab === "summary" ? summary(choose()) : nothing}
    ${report.part ? html`<p class="about">${STOPPED}</p>` : nothing}
    <h2>${first.length < list.length ? `The first ${first.length} of ` : ""}${counted(list)}</h2>
    ${first.map((item, place) => html`<div class="printed">${tile(item, place, list.length, false)}</div>`)}`, paper);
  paintAll(paper);
  paintMeans(paper, choose());
});
addEventListener("afterprint", () => {
  render(nothing, paper);
  paper.remove();
});

if (lost) render(html`<p class="lost" role="alert">${lost} Copy both, this file and that folder.</p>`, app);
else {
  onChange(draw);
  draw();
  if (matchMedia("(max-width: 800px)").matches) document.querySelector<HTMLDetailsElement>(".side")!.open = false;
}
