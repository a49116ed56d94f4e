// All chosen cards as a table: what screen readers read, and the browser's own search finds.

import { html, nothing, type TemplateResult } from "lit-html";
import type { Chosen } from "./choose";
import { fileOf, hasRuns, nameOf, notesOf, runName, scoreOf } from "./data";
import { show, state } from "./state";

const STEP = 500;
let most = STEP;

/** A column's title, which orders the cards one way, then the other. */
const header = (title: string, first: string, then: string): TemplateResult => html`<th scope="col"
  aria-sort=${state.sort === first ? "descending" : state.sort === then && then !== "run" ? "ascending" : "none"}
  ><button class="link" @click=${() => show({ sort: state.sort === first ? then : first })}>${title}</button></th>`;

export function table({ list }: Chosen, again: () => void): TemplateResult {
  return html`<div class="scroll"><table class="rows">
    <thead><tr>${header("file", "name", "run")}<th scope="col">predicted</th>${header("score", "sure", "unsure")}
      ${header("right", "wrong", "run")}<th scope="col">true class</th><th scope="col">answers</th>${hasRuns ? html`<th scope="col">run</th>` : nothing}<th scope="col">notes</th></tr></thead>
    <tbody>${list.slice(0, most).map((item) => {
      const { card } = item;
      const best = card.top?.[0];
      return html`<tr class=${item.outcome}>
        <th scope="row"><button class="link" @click=${() => show({ open: item.n, answer: -1, frame: -1 })}>${fileOf(card)}</button></th>
        <td>${card.error ? html`refused: ${card.error.kind}` : best ? nameOf(best) : "nothing found"}</td>
        <td class="n">${best ? scoreOf(best) : ""}</td>
        <td class="sign">${{ right: "✓ right", wrong: "✗ wrong", refused: "", answered: "" }[item.outcome]}</td><td>${item.truth}</td>
        <td>${(card.explanations ?? []).map((one) => html`<div>${one.method} of ${one.target.name}</div>`)}</td>${hasRuns ? html`<td>${runName(card.run)}</td>` : nothing}
        <td>${card.error?.message ?? notesOf(card).join("; ")}</td></tr>`;
    })}</tbody></table></div>
    ${list.length > most
      ? html`<button class="plain" @click=${() => { most += STEP; again(); }}>Show ${Math.min(STEP, list.length - most)} more of ${list.length}</button>`
      : nothing}`;
}
