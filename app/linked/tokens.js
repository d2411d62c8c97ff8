// The tokens on one side of a layer: which are patches, where these are, what each is called.

class Tokens {
  constructor({ kinds, grid, patch_px: patchPx, scattered }, [height, width]) {
    this.kinds = kinds.flatMap(([kind, count]) => new Array(count).fill(kind));
    this.grid = grid;
    this.patchPx = patchPx;
    this.scattered = scattered;
    this.size = [height, width];
    this.patches = [];
    this.prefix = [];
    this.kinds.forEach((kind, token) => (kind === "patch" ? this.patches : this.prefix).push(token));
    this.patchOf = new Map(this.patches.map((token, patch) => [token, patch]));
  }

  get hasPatches() {
    return this.patches.length > 0;
  }

  /** Row and column of a patch's centre, in pixels of the image. */
  centre(patch) {
    if (this.scattered) return this.scattered[patch];
    const columns = this.grid[1];
    return [(Math.floor(patch / columns) + 0.5) * this.patchPx[0], ((patch % columns) + 0.5) * this.patchPx[1]];
  }

  /** The patch whose centre is nearest to a place in pixels: on a grid the one that holds it. */
  nearest([y, x]) {
    if (!this.scattered) {
      const at = (place, side, count) => Math.max(0, Math.min(count - 1, Math.floor(place / side)));
      return at(y, this.patchPx[0], this.grid[0]) * this.grid[1] + at(x, this.patchPx[1], this.grid[1]);
    }
    let best = 0;
    let least = Infinity;
    this.scattered.forEach(([row, column], patch) => {
      const distance = (row - y) ** 2 + (column - x) ** 2;
      if (distance < least) [best, least] = [patch, distance];
    });
    return best;
  }

  /** The image as cells of one patch each: `{rows, columns, patch}`; null where there is none. */
  get raster() {
    if (this.kept === undefined) this.kept = this.hasPatches ? this.makeRaster() : null;
    return this.kept;
  }

  makeRaster() {
    const [rows, columns] = this.scattered ? [32, Math.max(1, Math.round((32 * this.size[1]) / this.size[0]))] : this.grid;
    const patch = Int32Array.from({ length: rows * columns }, (_, cell) => {
      if (!this.scattered) return cell;
      const row = Math.floor(cell / columns);
      return this.nearest([((row + 0.5) * this.size[0]) / rows, (((cell % columns) + 0.5) * this.size[1]) / columns]);
    });
    return { rows, columns, patch };
  }

  label(token) {
    const patch = this.patchOf.get(token);
    if (patch !== undefined) {
      if (this.scattered) return `patch ${patch}`;
      return `patch ${Math.floor(patch / this.grid[1])}, ${patch % this.grid[1]}`;
    }
    const kind = this.kinds[token];
    const same = this.prefix.filter((other) => this.kinds[other] === kind);
    return same.length === 1 ? kind : `${kind} ${same.indexOf(token)}`;
  }

  /** What the tokens are, short: "14×14 + class". */
  get summary() {
    const beside = [...new Set(this.prefix.map((token) => this.kinds[token]))].map((kind) => {
      const count = this.prefix.filter((token) => this.kinds[token] === kind).length;
      return count > 1 ? `${count} ${kind}` : kind;
    });
    const grid = this.scattered ? `${this.patches.length} points` : this.grid.join("×");
    return [...(this.hasPatches ? [grid] : []), ...beside].join(" + ");
  }

  /** The place that stands for a token in every layer: `{at: [y, x]}` or `{named: "class"}`. */
  placeOf(token) {
    const patch = this.patchOf.get(token);
    return patch === undefined ? { named: this.label(token) } : { at: this.centre(patch) };
  }

  /** The token at a place; null where there is none such: the mean over all stands for it. */
  tokenAt(place) {
    if (this.kinds.length === 1) return 0;
    if (place.at) return this.hasPatches ? this.patches[this.nearest(place.at)] : null;
    const found = this.prefix.find((token) => this.label(token) === place.named);
    return found ?? null;
  }

  /** What a page begins with: the first prefix token, or the patch in the middle. */
  get first() {
    if (this.prefix.length) return this.prefix[0];
    const [rows, columns] = this.grid;
    return this.patches[Math.floor(rows / 2) * columns + Math.floor(columns / 2)];
  }
}

const MEAN = "mean";

/** A place as the address writes it, and back. */
function placeText(place) {
  return place.at ? place.at.map((value) => Number(value.toFixed(2))).join() : place.named;
}

function placeFrom(text) {
  const at = String(text).split(",").map(Number);
  return at.length === 2 && at.every(Number.isFinite) ? { at } : { named: String(text) };
}
