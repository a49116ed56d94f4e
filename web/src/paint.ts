// Values -> colours on a canvas: bilinear between the centres of the map's cells, as `camcli` itself draws them.

import { type Explanation, items, report, runMaxOf } from "./data";
import { state } from "./state";

interface Grid { steps: number; rows: number; columns: number; levels: Uint8Array }

const bytes = (text: string): Uint8Array => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

const luts = new Map<string, Uint8Array>();
function lutOf(name: string): Uint8Array {
  const known = luts.get(name);
  if (known !== undefined) return known;
  const made = bytes(report.colormaps[name] ?? Object.values(report.colormaps)[0]);
  luts.set(name, made);
  return made;
}

/** The values of a map (rows x columns), of a clip (steps x rows x columns); undefined of a saliency. */
export function gridOf(one: Explanation): Grid | undefined {
  if (one.grid === undefined) return undefined;
  const [sides, text] = one.grid.split(":");
  const [columns, rows, steps = 1] = sides.split("x").map(Number).reverse();
  return { steps, rows, columns, levels: bytes(text) };
}

/** Where a place between 0 and 1 lies among so many cells: the cell before it, the one after it, and the share of that. */
function between(place: number, cells: number): [number, number, number] {
  const at = Math.min(Math.max(place * cells - 0.5, 0), cells - 1);
  const before = Math.floor(at);
  return [before, Math.min(before + 1, cells - 1), at - before];
}

/** The values at `time` (0 to 1), shares of 255, over so many pixels. */
export function spread(grid: Grid, width: number, height: number, time = 0.5): Float32Array {
  const { rows, columns, levels, steps } = grid;
  const [before, after, share] = between(time, steps);
  const size = rows * columns;
  const still = new Float32Array(size);
  for (let i = 0; i < size; i += 1) {
    const first = levels[before * size + i];
    still[i] = first + (levels[after * size + i] - first) * share;
  }
  const spreadOut = new Float32Array(width * height);
  const across = Array.from({ length: width }, (_, x) => between((x + 0.5) / width, columns));
  for (let y = 0; y < height; y += 1) {
    const [above, below, down] = between((y + 0.5) / height, rows);
    for (let x = 0; x < width; x += 1) {
      const [left, right, along] = across[x];
      const top = still[above * columns + left] * (1 - along) + still[above * columns + right] * along;
      const bottom = still[below * columns + left] * (1 - along) + still[below * columns + right] * along;
      spreadOut[y * width + x] = top * (1 - down) + bottom * down;
    }
  }
  return spreadOut;
}

/** Colours values on a canvas; as opaque as they are large, times `opacity`; all opaque without one. */
export function colour(canvas: HTMLCanvasElement, values: Float32Array, colors: string, factor: number, opacity?: number): void {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (context === null) return;
  const lut = lutOf(colors);
  const picture = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < values.length; i += 1) {
    const level = Math.min(255, Math.round(values[i] * factor));
    picture.data[4 * i] = lut[3 * level];
    picture.data[4 * i + 1] = lut[3 * level + 1];
    picture.data[4 * i + 2] = lut[3 * level + 2];
    picture.data[4 * i + 3] = opacity === undefined ? 255 : level * opacity;
  }
  context.putImageData(picture, 0, 0);
}

/** A canvas that knows what it is to show: a card, its answer, its look, and the time in a clip. */
export type Wanted = HTMLCanvasElement & { want?: string; done?: string };

export const wanted = (n: number, answer: number, time: number, side: number): string =>
  [n, answer, time.toFixed(3), side, state.colors, state.scale, state.opacity].join("|");

/** Paints each canvas below an element that shows something else than it is to. */
export function paintAll(root: ParentNode): void {
  for (const canvas of root.querySelectorAll<Wanted>("canvas.map")) {
    if (canvas.want === undefined || canvas.want === canvas.done) continue;
    canvas.done = canvas.want;
    const [n, answer, time, side, colors, scale, opacity] = canvas.want.split("|");
    const one = items[Number(n)].card.explanations[Number(answer)];
    const grid = one && gridOf(one);
    if (grid === undefined) continue;
    canvas.width = canvas.height = Number(side);
    const factor = scale === "run" ? one.max / runMaxOf(items[Number(n)].card, one) : 1;
    colour(canvas, spread(grid, canvas.width, canvas.height, Number(time)), colors, factor, Number(opacity) / 100);
  }
}

/** Paints the colour scales below an element. */
export function paintScales(root: ParentNode): void {
  for (const canvas of root.querySelectorAll<HTMLCanvasElement>("canvas.scale")) {
    colour(canvas, Float32Array.from({ length: 256 }, (_, level) => level), canvas.dataset.colors ?? state.colors, 1);
  }
}
