// One machine: what it does now in a sentence, its severity over time, and the columns that contribute most.

import { Chart } from "./chart.js";
import { byId, keyed, make, mark, setAttribute, setMark, setName, setText, show } from "./dom.js";
import { duration, epoch, idOf, nameOf, severity, value, when, withUnit } from "./words.js";

const HOUR_S = 3600, LEAST_S = 600, SLOT_S = 10, MOST_COLUMNS = 6;

export class Detail {
  constructor() {
    this.section = byId("detail");
    this.chart = new Chart(byId("chart"), byId("chart-readout"));
    this.mark = mark("normal");
    this.name = make("span");
    byId("detail-title").append(this.mark, this.name);
    this.spans = { hour: byId("span-hour"), rows: byId("span-rows") };
    this.span = "hour";
    for (const [span, button] of Object.entries(this.spans)) {
      button.addEventListener("click", () => this.#choose(span));
    }
  }

  #choose(span) {
    this.span = span;
    for (const [each, button] of Object.entries(this.spans)) setAttribute(button, "aria-pressed", each === span);
    if (this.shown) this.#draw();
  }

  // `machine` is of the snapshot, `detail` what is known beside it; null where it has not come yet.
  show({ machine, detail, model, events, now }) {
    this.shown = { machine, detail, model, events, now };
    setMark(this.mark, machine.state);
    setAttribute(this.section, "data-state", machine.state);
    setText(this.name, nameOf(machine));
    setText(byId("detail-facts"), facts(this.shown));
    setText(byId("detail-sentence"), sentence(this.shown));
    this.#draw();
    const hasColumns = model?.kind !== "images";
    show(byId("columns-card"), hasColumns);
    show(byId("normal-button"), hasColumns); // rows are what is kept
    if (hasColumns) columns(detail, model, machine);
  }

  #draw() {
    const { detail, events, now } = this.shown;
    const recent = this.span === "rows";
    const points = !detail
      ? []
      : recent
        ? detail.recent.map(([time, at, status]) => ({ time, high: at, mean: at, status }))
        : detail.severity.map(([time, high, mean]) => ({ time, high, mean, status: "" }));
    const last = points.at(-1)?.time ?? now;
    const isNow = last > now - HOUR_S && last < now + 60; // else it is a recording that is played
    const to = recent || !isNow ? last : Math.max(now, last);
    const first = points[0]?.time ?? to;
    const from = recent ? Math.min(first, to - 1) : Math.max(to - HOUR_S, Math.min(first, to - LEAST_S)); // of a young one, less
    const between = points.length > 1 ? (last - points[0].time) / (points.length - 1) : 1;
    const spans = events.map(({ start, end, state }) => ({ start: epoch(start), end: state === "running" ? null : epoch(end) }));
    this.chart.show({ points, events: spans, from, to, gap: recent ? 6 * between : 3 * SLOT_S });
  }
}

function facts({ machine, detail, model, now }) {
  const told = [];
  if (machine.time !== null) told.push(`last row ${when(machine.time, now)}`);
  if (machine.source) told.push(`by ${machine.source}`);
  if (model) told.push(`model ${model.name}`);
  if (machine.is_odd) told.push(`unlike its peers in the last hour (${machine.odd.toFixed(1)} deviations)`);
  if (detail?.threshold) told.push(detail.threshold);
  else if (machine.own) told.push("a threshold of its own");
  return told.join(" · ");
}

function sentence({ machine, detail, model, events, now }) {
  const running = events.find((event) => event.state === "running");
  const [worst] = detail?.columns ?? [];
  if (machine.state === "anomaly") {
    const since = running ? `Anomaly for ${duration(Math.max(0, (machine.time ?? now) - epoch(running.start)))}` : "Anomaly";
    const why = worst ? `: ${worst.column} is ${withUnit(worst.actual, unitOf(model, worst.column))}${worst.expected === null ? "" : ` where ${value(worst.expected)} is expected`}.` : ".";
    return since + why;
  }
  if (machine.state === "cannot tell") return `Cannot tell${machine.why ? `: ${machine.why}` : ""}.`;
  if (machine.state === "stale") return `Silent${machine.why ? `: ${machine.why}` : ""}. What is below is the last that was seen.`;
  return `Normal: severity ${severity(machine.severity)}, where 1 is the threshold.`;
}

const unitOf = (model, column) => model?.units?.[model.columns.indexOf(column)] ?? "";

function columns(detail, model, machine) {
  const whole = detail?.columns ?? [];
  const rows = whole.slice(0, MOST_COLUMNS);
  const all = whole.reduce((sum, row) => sum + Math.max(0, row.contribution), 0) || 1;
  const shares = rows.map((row) => ({ ...row, share: Math.max(0, row.contribution) / all, unit: unitOf(model, row.column) }));
  show(byId("columns-table"), rows.length > 0);
  setText(byId("columns-note"), rows.length ? "" : note(detail, machine));
  keyed(byId("columns"), shares, (row) => row.column, () => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("i"));
    const share = make("td", {}, bar, make("span", { class: "percent" }));
    const node = make("tr", {}, make("th", { scope: "row" }), share, make("td"), make("td"));
    return {
      node,
      update: (row) => {
        setName(node.children[0], row.column);
        share.firstChild.firstChild.style.setProperty("--length", row.share.toFixed(3));
        setText(share.children[1], `${Math.round(row.share * 100)} %`);
        setText(node.children[2], withUnit(row.actual, row.unit));
        setText(node.children[3], withUnit(row.expected, row.unit));
      },
    };
  });
}

function note(detail, machine) {
  if (!detail) return "Waiting for the service.";
  if (machine.state === "cannot tell") return `There is no score to explain${detail.reason ? `: ${detail.reason}` : ""}.`;
  return "Nothing is told of the columns of the newest input.";
}

export const selectedOf = (snapshot, selected) => snapshot.machines.find((machine) => idOf(machine) === selected);
