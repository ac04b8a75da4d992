// The machines, worst first, each with its state by mark, word and colour.

import { byId, keyed, make, mark, setAttribute, setMark, setText, show } from "./dom.js";
import { STATES, count, idOf, nameOf, severity, when } from "./words.js";

const FEW = 8; // without a filter box
const names = new Intl.Collator("en", { numeric: true });

// Those that are normal keep their places: a list that trembles is not calm.
function rank(machine) {
  if (machine.is_odd && machine.state !== "anomaly") return 0.95;
  return STATES.indexOf(machine.state) - (machine.state === "anomaly" ? Math.min(0.9, Math.floor(machine.severity ?? 0) / 100) : 0);
}

export function inOrder(machines) {
  return [...machines].sort((a, b) => rank(a) - rank(b) || names.compare(nameOf(a), nameOf(b)));
}

export const linkTo = (machine) => `#/${encodeURIComponent(machine.model)}/${encodeURIComponent(machine.key)}`;

export class Machines {
  constructor() {
    this.list = byId("machine-list");
    this.filter = byId("filter");
    this.filter.addEventListener("input", () => this.draw());
    this.filter.addEventListener("keydown", (event) => event.key === "Enter" && this.#open());
  }

  show(snapshot, selected, now) {
    Object.assign(this, { snapshot, selected, now });
    this.draw();
  }

  draw() {
    if (!this.snapshot) return;
    const { machines, machines_total: total, models } = this.snapshot;
    const words = this.filter.value.trim().toLowerCase();
    const found = inOrder(machines).filter((machine) => !words || nameOf(machine).toLowerCase().includes(words));
    const several = models.length > 1;
    keyed(this.list, found, idOf, () => row());
    for (const [i, machine] of found.entries()) update(this.list.children[i], machine, several, this.selected === idOf(machine), this.now);
    show(byId("finder"), total > FEW);
    const present = STATES.map((state) => [state, machines.filter((machine) => machine.state === state).length]);
    setText(byId("counts"), total > machines.length ? count(total) : present.filter(([, n]) => n).map(([state, n]) => `${n} ${state}`).join(" · "));
    setText(byId("machines-note"), this.#note(found, words));
  }

  #note(found, words) {
    const { machines, machines_total: total } = this.snapshot;
    if (words && !found.length) {
      return total > machines.length ? "None of those listed. Enter opens the machine of this whole name." : "No machine has this in its name.";
    }
    return total > machines.length ? `The worst ${machines.length} of ${count(total)} are listed. Any other opens by its whole name: type it above, then Enter.` : "";
  }

  // Opens the first that is found, or one that is not listed, by its name.
  #open() {
    const first = this.list.querySelector("a");
    const key = this.filter.value.trim();
    if (first) location.hash = first.getAttribute("href");
    else if (key && this.snapshot.models.length) location.hash = linkTo({ model: this.snapshot.models[0].name, key });
  }
}

function row() {
  const name = make("span", { class: "name" });
  const told = make("span", { class: "told" });
  const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("i"));
  const number = make("span", { class: "number" });
  const link = make("a", { class: "machine" }, mark("normal"), make("span", { class: "who" }, name, told), meter, number);
  const node = make("li", {}, link);
  return { node, update: () => {} };
}

function update(node, machine, several, selected, now) {
  const link = node.firstChild;
  const [picture, who, meter, number] = link.children;
  const { state } = machine;
  setAttribute(link, "href", linkTo(machine));
  setAttribute(link, "data-state", state);
  setAttribute(link, "data-odd", machine.is_odd);
  if (selected) setAttribute(link, "aria-current", "true");
  else link.removeAttribute("aria-current");
  setMark(picture, state);
  setText(who.children[0], nameOf(machine));
  setText(who.children[1], told(machine, several, now));
  const length = Math.min(1, (machine.severity ?? 0) / 2); // the threshold is in the middle
  meter.firstChild.style.setProperty("--length", length.toFixed(3));
  setText(number, severity(machine.severity));
}

function told(machine, several, now) {
  const words = [machine.state];
  if (machine.why) words.push(machine.why);
  else if (machine.state === "stale" && machine.time !== null) words.push(`last row ${when(machine.time, now)}`);
  if (machine.is_odd) words.push("unlike its peers");
  if (several) words.push(machine.model);
  return words.join(" · ");
}

// One sentence for all of them.
export function summary(machines, total) {
  if (!machines.length) return ["normal", "No machines yet"];
  const of = (state) => machines.filter((machine) => machine.state === state);
  const parts = [];
  const [bad, unsure, stale] = STATES.map(of);
  if (bad.length) parts.push(bad.length === 1 ? `anomaly on ${nameOf(bad[0])}` : `${bad.length} anomalies`);
  if (unsure.length) parts.push(unsure.length === 1 ? `no verdict on ${nameOf(unsure[0])}` : `no verdict on ${unsure.length} machines`);
  if (stale.length) parts.push(stale.length === 1 ? `${nameOf(stale[0])} is silent` : `${stale.length} machines are silent`);
  const odd = machines.filter((machine) => machine.is_odd && machine.state === "normal");
  if (odd.length) parts.push(odd.length === 1 ? `${nameOf(odd[0])} is unlike its peers` : `${odd.length} machines are unlike their peers`);
  if (parts.length) {
    const sentence = parts.join(", ");
    return [bad.length ? "anomaly" : unsure.length || odd.length ? "cannot tell" : "stale", sentence[0].toUpperCase() + sentence.slice(1)];
  }
  return ["normal", total === 1 ? "Normal" : `All ${count(total)} machines are normal`];
}
