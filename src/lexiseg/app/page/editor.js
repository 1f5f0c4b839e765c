// Label maps on a canvas: colours, and strokes of a brush. Labels are 16-bit numbers, one a pixel of the image; 65535 is void.

export const VOID = 65535;

const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

/** Paints a label map into a canvas that may be smaller than the image. */
export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  show(labels, width, height, classes, hidden) {
    const scale = Math.min(1, 1600 / Math.max(width, height));
    this.labels = labels;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * scale));
    this.canvas.height = Math.max(1, Math.round(height * scale));
    this.recolour(classes, hidden);
  }

  recolour(classes, hidden) {
    this.colours = new Map(classes.map((each) => [each.label, rgb(each.colour)]));
    this.hidden = hidden;
    this.paint(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Paints the part of the canvas that a part of the image covers. */
  repaint(left, top, right, bottom) {
    const across = this.canvas.width / this.width;
    const down = this.canvas.height / this.height;
    const x = Math.max(0, Math.floor(left * across) - 1);
    const y = Math.max(0, Math.floor(top * down) - 1);
    this.paint(x, y, Math.min(this.canvas.width, Math.ceil(right * across) + 2) - x, Math.min(this.canvas.height, Math.ceil(bottom * down) + 2) - y);
  }

  paint(left, top, wide, high) {
    if (wide < 1 || high < 1) return;
    const image = this.context.createImageData(wide, high);
    const pixels = image.data;
    const columns = new Int32Array(wide + 1);
    for (let x = 0; x <= wide; x++) columns[x] = Math.min(this.width - 1, Math.floor(((left + x + 0.5) * this.width) / this.canvas.width));
    const rowOf = (y) => Math.min(this.height - 1, Math.floor(((y + 0.5) * this.height) / this.canvas.height)) * this.width;
    for (let y = 0, at = 0; y < high; y++) {
      const row = rowOf(top + y), below = rowOf(top + y + 1);
      for (let x = 0; x < wide; x++, at += 4) {
        const label = this.labels[row + columns[x]];
        const edge = label !== this.labels[row + columns[x + 1]] || label !== this.labels[below + columns[x]];
        const colour = this.colours.get(label);
        if (this.hidden.has(label) || !colour) continue;
        [pixels[at], pixels[at + 1], pixels[at + 2]] = edge ? [255, 255, 255] : colour;
        pixels[at + 3] = 255;
      }
    }
    this.context.putImageData(image, left, top);
  }
}

/** Draws discs along a line into a label map, and can take strokes back. */
export class Brush {
  constructor() {
    this.strokes = [];
  }

  begin(labels) {
    this.strokes.push(labels.slice());
    const room = Math.max(1, Math.floor(60_000_000 / (2 * labels.length)));
    while (this.strokes.length > Math.min(20, room)) this.strokes.shift();
  }

  undo() {
    return this.strokes.pop();
  }

  line(labels, width, height, from, to, radius, label) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(1, radius / 3)));
    for (let step = 0; step <= steps; step++) {
      const x = from.x + ((to.x - from.x) * step) / steps;
      const y = from.y + ((to.y - from.y) * step) / steps;
      for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(height - 1, y + radius); row++) {
        const half = Math.sqrt(radius * radius - (row - y) ** 2);
        const first = Math.max(0, Math.ceil(x - half)), last = Math.min(width - 1, Math.floor(x + half));
        if (first <= last) labels.fill(label, row * width + first, row * width + last + 1);
      }
    }
    return [Math.min(from.x, to.x) - radius, Math.min(from.y, to.y) - radius, Math.max(from.x, to.x) + radius, Math.max(from.y, to.y) + radius];
  }
}
