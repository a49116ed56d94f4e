// All chosen cards as a table: what screen readers read, and the browser's own search finds.

import { html, nothing, type TemplateResult } from "lit-html";
import type { Chosen } from "./choose";
import { fileOf, nameOf, scoreOf } from "./data";
import { show } from "./state";

const STEP = 500;
let most = STEP;

export function table({ list }: Chosen, again: () => void): TemplateResult {
  return html`<div class="scroll"><table class="rows">
    <thead><tr><th scope="col">file</th><th scope="col">predicted</th><th scope="col">score</th><th scope="col">true class</th>
      <th scope="col">answers</th><th scope="col">notes</th></tr></thead>
    <tbody>${list.slice(0, most).map((item) => {
      const { card } = item;
      const best = card.top?.[0];
      const notes = [card.note, card.missing, ...(card.explanations ?? []).map((one) => one.note)].filter(Boolean);
      return html`<tr class=${item.outcome}>
        <th scope="row"><button class="link" @click=${() => show({ open: item.n, answer: -1, frame: -1 })}>${fileOf(card)}</button></th>
        <td>${card.error ? html`refused: ${card.error.kind}` : best ? nameOf(best) : "nothing found"}</td>
        <td class="n">${best ? scoreOf(best) : ""}</td>
        <td>${item.outcome === "right" ? "✓ " : item.outcome === "wrong" ? "✗ " : ""}${item.truth}</td>
        <td>${(card.explanations ?? []).map((one) => html`<div>${one.method} of ${one.target.name}</div>`)}</td>
        <td>${card.error?.message ?? notes.join("; ")}</td></tr>`;
    })}</tbody></table></div>
    ${list.length > most
      ? html`<button class="plain" @click=${() => { most += STEP; again(); }}>Show ${Math.min(STEP, list.length - most)} more of ${list.length}</button>`
      : nothing}`;
}
