// A photo with its map on it, where the network looked; in tiles, in the viewer, and on paper.

import { html, nothing, svg, type TemplateResult } from "lit-html";
import { type Box, type Entry, type Explanation, fileOf, type Item, nameOf, photoOf, scoreOf } from "./data";
import { wanted } from "./paint";
import { state } from "./state";

/** The style of a box in shares of a picture. */
export function placed([x0, y0, x1, y1]: Box, [width, height]: readonly [number, number]): string {
  return `left:${(x0 / width) * 100}%;top:${(y0 / height) * 100}%;width:${((x1 - x0) / width) * 100}%;height:${((y1 - y0) / height) * 100}%`;
}

/** The clip's frame that is shown: the chosen one, else the one that holds the largest value. */
export function frameOf(item: Item, one: Explanation | undefined, chosen = -1): number {
  const { clip } = item.card;
  if (clip === undefined) return 0;
  if (chosen >= 0) return Math.min(chosen, clip.length - 1);
  return Math.max(0, clip.findIndex((at) => at.frame === one?.moment?.frame));
}

/** What a picture shows, in words. */
export function inWords(item: Item, one: Explanation | undefined): string {
  const best = item.card.top[0];
  const said = [fileOf(item.card), best ? `${nameOf(best)} ${scoreOf(best)}` : "nothing found"];
  if (item.outcome === "wrong") said.push(`it is ${item.truth}`);
  if (one) said.push(`${one.method} of ${one.target.name}`);
  if (one?.peak) said.push(`strongest at ${one.peak[0]}, ${one.peak[1]} of ${item.card.size.join(" by ")}`);
  return said.join("; ");
}

const outlined = (points: number[]): string => {
  const pairs = [];
  for (let i = 0; i < points.length; i += 2) pairs.push(`${points[i]},${points[i + 1]}`);
  return pairs.join(" ");
};

const marked = (entry: Entry, strong: boolean): TemplateResult =>
  entry.outlines
    ? svg`${entry.outlines.map((points) => svg`<polygon class=${strong ? "strong" : ""} points=${outlined(points)}></polygon>`)}`
    : entry.box
      ? svg`<rect class=${strong ? "strong" : ""} x=${entry.box[0]} y=${entry.box[1]} width=${entry.box[2] - entry.box[0]} height=${entry.box[3] - entry.box[1]}></rect>`
      : svg``;

/** The marks on a picture: what was found, and the box around the map's strong part. */
function marks(item: Item, one: Explanation | undefined, isLarge: boolean): TemplateResult {
  const [width, height] = item.card.size;
  const [x0, y0, x1, y1] = item.card.box;
  const isTarget = (entry: Entry): boolean => one !== undefined && nameOf(entry) === nameOf(one.target) && entry.part === one.target.part;
  const bbox = isLarge ? one?.bbox : undefined;
  return html`<svg class="marks" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" aria-hidden="true">
    <path class="dim" fill-rule="evenodd" d=${`M0 0H${width}V${height}H0ZM${x0} ${y0}H${x1}V${y1}H${x0}Z`}></path>
    ${item.card.top.map((entry) => marked(entry, isTarget(entry)))}
    ${one && !item.card.top.some(isTarget) ? marked(one.target, true) : nothing}
    ${bbox ? svg`<rect class="bbox" x=${bbox[0]} y=${bbox[1]} width=${bbox[2] - bbox[0]} height=${bbox[3] - bbox[1]}></rect>` : nothing}
  </svg>`;
}

export interface Look { side: number; marks: boolean; frame?: number; alt: string; isLarge?: boolean }

/** The picture itself: a box of the photo's aspect, filled. */
export function picture(item: Item, answer: number, look: Look): TemplateResult {
  const { card } = item;
  const one = card.explanations[answer] as Explanation | undefined;
  const frames = card.clip?.length ?? 1;
  const frame = frameOf(item, one, look.frame);
  const box = one?.box ?? card.box;
  const source = photoOf(item);
  const overall = Math.min(1, state.opacity / 65).toFixed(3);
  const [width, height] = card.size;
  const cut = `inset(${(Math.max(0, box[1]) / height) * 100}% ${100 - (Math.min(width, box[2]) / width) * 100}% ${100 - (Math.min(height, box[3]) / height) * 100}% ${(Math.max(0, box[0]) / width) * 100}%)`;
  return html`
    ${source
      ? html`<img class=${Math.max(...card.size) < 100 ? "photo tiny" : "photo"} alt=${look.alt} draggable="false" .src=${source}
          .style=${frames > 1 ? `width:${frames * 100}%;max-width:none;transform:translateX(${(-frame / frames) * 100}%)` : ""}>`
      : html`<span class="gone" role="img" aria-label=${look.alt}>${card.missing ?? "no photo"}</span>`}
    <span class="over">
      ${one?.grid
        ? html`<canvas class="map" aria-hidden="true" .style=${placed(box, card.size)}
            .want=${wanted(item.n, answer, (frame + 0.5) / frames, look.side)}></canvas>`
        : nothing}
      ${one?.picture
        ? html`<img class="drawn" alt="" draggable="false" .src=${`data:image/jpeg;base64,${one.picture}`} .style=${`clip-path:${cut};opacity:${overall}`}>`
        : nothing}
    </span>
    ${look.marks ? html`<span class="view" .style=${placed(card.box, card.size)}></span>${marks(item, one, look.isLarge ?? false)}` : nothing}`;
}
