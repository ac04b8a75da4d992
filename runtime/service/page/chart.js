// Severity over time: the one chart of the page. The boundary of the promise is at 1 for every model.

import { setAttribute, setText } from "./dom.js";
import { severity, timeOfDay, timeToSecond } from "./words.js";

const LEFT = 34, RIGHT = 10, TOP = 12, BOTTOM = 22;
const STEPS_S = [5, 15, 30, 60, 300, 600, 900, 1800, 3600];

export class Chart {
  // `place` is a slider that holds a canvas: it moves a cursor over the points, whose values stand in `readout`.
  constructor(place, readout) {
    this.place = place;
    this.canvas = place.querySelector("canvas");
    this.pen = this.canvas.getContext("2d");
    this.readout = readout;
    this.points = [];
    this.events = [];
    this.cursor = null; // the time at which it stands; null follows the newest point
    new ResizeObserver(() => this.draw()).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    place.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    place.addEventListener("pointerdown", (event) => this.#point(event.offsetX));
    place.addEventListener("pointerleave", () => this.#move(null));
    place.addEventListener("blur", () => this.#move(null));
    place.addEventListener("keydown", (event) => this.#key(event));
  }

  // Points are { time, high, mean, status }, high and mean null where there is no score; events { start, end }.
  show({ points, events, from, to, gap }) {
    Object.assign(this, { points, events, from, to, gap });
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!width || !height || this.from === undefined) return;
    const scale = devicePixelRatio || 1;
    const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== wide || this.canvas.height !== high) Object.assign(this.canvas, { width: wide, height: high });
    const style = getComputedStyle(this.place);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.width = width;
    this.height = height;
    const largest = this.points.reduce((most, point) => Math.max(most, point.high ?? 0), 0);
    this.top = Math.max(1.6, largest * 1.12);
    this.pen.setTransform(scale, 0, 0, scale, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    this.pen.font = `${style.getPropertyValue("--small")} ${style.fontFamily}`;
    this.#grid();
    this.#spans();
    this.#line();
    this.#unscored();
    this.#told();
  }

  #x(time) {
    return LEFT + ((time - this.from) / (this.to - this.from)) * (this.width - LEFT - RIGHT);
  }

  #y(value) {
    return this.height - BOTTOM - (Math.max(0, value) / this.top) * (this.height - TOP - BOTTOM);
  }

  #stroke(colour, width, trace, dash = []) {
    this.pen.setLineDash(dash);
    this.pen.strokeStyle = this.colour(colour);
    this.pen.lineWidth = width;
    this.pen.lineJoin = "round";
    this.pen.beginPath();
    trace(this.pen);
    this.pen.stroke();
  }

  #grid() {
    const { pen } = this;
    const step = [0.5, 1, 2, 5, 10, 20, 50, 100].find((each) => this.top / each <= 4.5) ?? this.top / 4;
    pen.fillStyle = this.colour("soft");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let value = 0; value <= this.top; value += step) {
      const y = Math.round(this.#y(value)) + 0.5;
      this.#stroke("line", 1, (path) => (path.moveTo(LEFT, y), path.lineTo(this.width - RIGHT, y)));
      pen.fillText(step < 1 ? value.toFixed(1) : String(value), LEFT - 8, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    const every = STEPS_S.find((each) => ((this.to - this.from) / each) * 62 <= this.width) ?? 7200;
    for (let time = Math.ceil(this.from / every) * every; time <= this.to; time += every) {
      const x = this.#x(time);
      const label = every < 60 ? timeToSecond(time) : timeOfDay(time);
      if (x > LEFT + 14 && x < this.width - RIGHT - 14) pen.fillText(label, x, this.height - 5);
    }
    const y = Math.round(this.#y(1)) + 0.5;
    this.#stroke("ink", 1, (path) => (path.moveTo(LEFT, y), path.lineTo(this.width - RIGHT, y)), [5, 4]);
    pen.textAlign = "left";
    pen.fillStyle = this.colour("ink");
    pen.fillText("threshold", LEFT + 4, y - 5);
  }

  #spans() {
    for (const { start, end } of this.events) {
      const [left, right] = [this.#x(Math.max(start, this.from)), this.#x(Math.min(end ?? this.to, this.to))];
      if (right < LEFT || left > this.width) continue;
      this.pen.fillStyle = this.colour("event");
      this.pen.globalCompositeOperation = "destination-over";
      this.pen.fillRect(left, TOP, Math.max(2, right - left), this.height - TOP - BOTTOM);
      this.pen.globalCompositeOperation = "source-over";
    }
  }

  // Runs of points without a gap between them.
  #runs() {
    const runs = [];
    let before = null;
    for (const point of this.points) {
      if (point.high !== null) {
        if (before === null || point.time - before.time > this.gap) runs.push([]);
        runs.at(-1).push(point);
      }
      before = point.high === null ? null : point;
    }
    return runs;
  }

  #line() {
    const runs = this.#runs();
    const trace = (path, points, of) => points.forEach((p, i) => path[i ? "lineTo" : "moveTo"](this.#x(p.time), this.#y(of(p))));
    const highs = (path) => runs.forEach((run) => trace(path, run, (p) => p.high));
    this.pen.fillStyle = this.colour("band");
    for (const run of runs) {
      this.pen.beginPath();
      trace(this.pen, run, (p) => p.high);
      [...run].reverse().forEach((p) => this.pen.lineTo(this.#x(p.time), this.#y(p.mean)));
      this.pen.fill();
    }
    this.#stroke("curve", 1.6, highs);
    this.pen.save(); // what is above the threshold once more, thicker
    this.pen.beginPath();
    this.pen.rect(LEFT, 0, this.width, this.#y(1));
    this.pen.clip();
    this.#stroke("anomaly", 2.6, highs);
    this.pen.restore();
    for (const run of runs.filter((each) => each.length === 1)) this.#dot(run[0], 2);
  }

  #dot(point, radius) {
    this.pen.fillStyle = this.colour(point.high >= 1 ? "anomaly" : "curve");
    this.pen.beginPath();
    this.pen.arc(this.#x(point.time), this.#y(point.high), radius, 0, 7);
    this.pen.fill();
  }

  // Rows without a score, as marks along the bottom.
  #unscored() {
    const y = this.height - BOTTOM;
    const points = this.points.filter((point) => point.high === null);
    this.#stroke("unsure", 1.5, (path) => points.forEach(({ time }) => (path.moveTo(this.#x(time), y - 5), path.lineTo(this.#x(time), y))));
  }

  #told() {
    const at = this.#nearest();
    const point = this.points[at];
    if (point && this.cursor !== null) {
      this.#stroke("soft", 1, (path) => (path.moveTo(this.#x(point.time), TOP), path.lineTo(this.#x(point.time), this.height - BOTTOM)));
    }
    if (point && point.high !== null) this.#dot(point, 3.5);
    const text = point ? this.#words(point) : "no rows yet";
    setText(this.readout, text);
    setAttribute(this.place, "aria-valuemax", Math.max(0, this.points.length - 1));
    setAttribute(this.place, "aria-valuenow", Math.max(0, at));
    if (this.cursor !== null || !this.place.matches(":focus")) setAttribute(this.place, "aria-valuetext", text);
  }

  #words({ time, high, mean, status }) {
    if (high === null) return `${timeToSecond(time)}  no score: ${status}`;
    const also = mean !== high ? `, on average ${severity(mean)}` : "";
    return `${timeToSecond(time)}  severity ${severity(high)}${also}${high >= 1 ? ", over the threshold" : ""}`;
  }

  #nearest() {
    if (this.cursor === null) return this.points.length - 1;
    let best = -1;
    this.points.forEach((point, i) => {
      if (best < 0 || Math.abs(point.time - this.cursor) < Math.abs(this.points[best].time - this.cursor)) best = i;
    });
    return best;
  }

  #point(x) {
    this.#move(this.from + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (this.to - this.from));
  }

  #key(event) {
    const last = this.points.length - 1;
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -last, End: last }[event.key];
    if (by === undefined || last < 0) return;
    event.preventDefault();
    this.#move(this.points[Math.min(last, Math.max(0, this.#nearest() + by))].time);
  }

  #move(time) {
    this.cursor = time;
    this.draw();
  }
}
