// Tiles of all chosen cards, of which only those in sight are there: a fixed number of cells is used again and again.

import { html, nothing, render, type TemplateResult } from "lit-html";
import { answers, choose } from "./choose";
import { entryIn, fileOf, hasRuns, type Item, nameOf, runName, scoreOf } from "./data";
import { paintAll } from "./paint";
import { inWords, picture } from "./picture";
import { show, state } from "./state";

const GAP = 12;
const WORDS = 84; // pixels for the words below a picture
const SIDE = 48; // pixels of a map's canvas: finer than its cells, cheap to paint

/** The answer of a card that its tile shows: about the chosen class, if there is one. */
const shownAnswer = (item: Item): number => {
  const own = answers(item);
  return item.card.explanations.indexOf(own.find((one) => nameOf(one.target) === state.cls) ?? own[0]);
};

const sign = { right: "✓", wrong: "✗", refused: "⚠", answered: "" };

export function tile(item: Item, place: number, of: number, isFocused: boolean): TemplateResult {
  const { card } = item;
  if (card.error) {
    return html`<button class="open refused" data-place=${place} tabindex=${isFocused ? 0 : -1} @click=${() => show({ open: item.n })}>
      <span class="frame"><span class="gone">⚠ ${card.error.kind}</span></span>
      <span class="said"><b>refused</b></span><span class="file">${fileOf(card)}</span>
      <span class="unseen">${card.error.message}; ${place + 1} of ${of}</span></button>`;
  }
  const answer = shownAnswer(item);
  const best = entryIn(card, state.cls) ?? card.top[0];
  return html`<button class="open ${item.outcome}" data-place=${place} tabindex=${isFocused ? 0 : -1}
      @click=${() => show({ open: item.n, answer: -1, frame: -1 })}>
    <span class="frame"><span class="pic" .style=${`--ratio:${card.size[0] / card.size[1]};aspect-ratio:${card.size[0]}/${card.size[1]}`}
      >${picture(item, answer, { side: SIDE, marks: state.marks, alt: "" })}</span></span>
    <span class="said"><span class="label"><span class="sign">${sign[item.outcome]}</span> ${best ? nameOf(best) : "nothing found"}</span>
      <b>${best ? scoreOf(best) : ""}</b></span>
    ${item.outcome === "wrong" ? html`<span class="file"><em>is ${item.truth}</em></span>` : nothing}
    ${hasRuns ? html`<span class="file">${runName(card.run)}</span>` : nothing}
    <span class="file">${fileOf(card)}
      ${item.noted ? html`<span class="noted" title="it has a note">✎</span>` : nothing}</span>
    <span class="unseen">${item.outcome === "answered" ? "" : item.outcome} ${inWords(item, card.explanations[answer])}; ${place + 1} of ${of}</span></button>`;
}

export class Grid {
  private focused = 0;
  private columns = 1;

  constructor(private readonly scroller: HTMLElement, private readonly list: HTMLElement) {
    scroller.addEventListener("scroll", () => requestAnimationFrame(() => this.draw()), { passive: true });
    new ResizeObserver(() => this.draw()).observe(scroller);
    list.addEventListener("keydown", (event) => this.onKey(event));
    list.addEventListener("focusin", (event) => {
      const place = (event.target as HTMLElement).dataset.place;
      if (place !== undefined) this.focused = Number(place);
    });
  }

  /** Draw the cells in sight, and half a screen around them. */
  draw(): void {
    const { list } = choose();
    const room = this.list.clientWidth;
    if (room === 0) return;
    const least = room < 480 ? 140 : 190;
    this.columns = Math.max(2, Math.floor((room + GAP) / (least + GAP)));
    const width = (room - GAP * (this.columns - 1)) / this.columns;
    const height = Math.round(width * 0.8) + WORDS;
    const rows = Math.ceil(list.length / this.columns);
    this.list.style.height = `${Math.max(0, rows * (height + GAP) - GAP)}px`;
    this.list.style.setProperty("--photo", `${Math.round(width * 0.8)}px`);
    this.focused = Math.min(this.focused, Math.max(0, list.length - 1));
    const inSight = Math.ceil(this.scroller.clientHeight / (height + GAP)) + 1;
    const spare = 1;
    const first = Math.max(0, Math.floor((this.scroller.scrollTop - this.list.offsetTop) / (height + GAP)) - spare);
    const cells = (inSight + 2 * spare) * this.columns;
    const from = first * this.columns;
    const slots = Array.from({ length: Math.min(cells, list.length) }, (_, slot) => {
      // The place from `from` on that leaves the same rest as the slot: a cell keeps its card while that is in sight.
      const place = from + ((((slot - from) % cells) + cells) % cells);
      const item = list[place];
      if (item === undefined) return html`<li hidden></li>`;
      const [x, y] = [(place % this.columns) * (width + GAP), Math.floor(place / this.columns) * (height + GAP)];
      return html`<li aria-setsize=${list.length} aria-posinset=${place + 1}
        .style=${`width:${width}px;height:${height}px;left:${x}px;top:${y}px`}
        >${tile(item, place, list.length, place === this.focused)}</li>`;
    });
    render(slots, this.list);
    paintAll(this.list);
  }

  /** Bring a place into sight, and the focus to it. */
  focus(place = this.focused, at = this.columns): void {
    const { list } = choose();
    this.focused = Math.max(0, Math.min(place, list.length - 1));
    const room = this.list.clientWidth;
    const width = (room - GAP * (at - 1)) / at;
    const height = Math.round(width * 0.8) + WORDS + GAP;
    const top = this.list.offsetTop + Math.floor(this.focused / at) * height;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top - GAP;
    else if (top + height > scrollTop + clientHeight) this.scroller.scrollTop = top + height - clientHeight;
    this.draw();
    this.list.querySelector<HTMLElement>(`[data-place="${this.focused}"]`)?.focus({ preventScroll: true });
  }

  private onKey(event: KeyboardEvent): void {
    const page = this.columns * Math.max(1, Math.floor(this.scroller.clientHeight / 220));
    const steps: Record<string, number> = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page,
      Home: -Infinity, End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.focus(this.focused + step);
  }
}
