// The embedded samples. Each part is JSON, compressed by gzip, in base64; a cell's part is unpacked when it is chosen.
//
// A cell is what `Columns` in embedded.py says, lists with one entry per answer, and its name, label, group, settings
// and problem.

const RUN_ON = 1, FITS = 2; // bits of `flags`, as in embedded.py

/** The content of the part `samples-NAME`. */
async function unpack(name) {
  const packed = atob(part(`samples-${name}`).textContent);
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
  const content = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(content).json();
}

/** All cells of the page by number; `cell` unpacks one, once. */
class Study {
  static async read() {
    return Object.assign(new Study(), await unpack("all"), { unpacked: new Map() });
  }

  /** The number of the cell with that name, or -1. */
  numberOf(name) {
    return this.cells.findIndex((cell) => cell.name === name);
  }

  async cell(number) {
    if (!this.unpacked.has(number)) {
      this.unpacked.set(number, unpack(number).then((columns) => ({ ...this.cells[number], ...columns })));
    }
    return this.unpacked.get(number);
  }

  /** The cells to begin with: the first two that differ in the evaluation format alone, else the first two. */
  firstPair() {
    for (const [number, cell] of this.cells.entries()) {
      const other = this.cells.findIndex((each, place) => place > number && each.group === cell.group);
      if (other > 0) return [number, other];
    }
    return [0, 1].slice(0, this.cells.length);
  }
}
