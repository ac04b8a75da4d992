// What happened: events, which somebody acknowledges and says what they were.

import { byId, keyed, make, mark, setAttribute, setText, show } from "./dom.js";
import { get, post } from "./link.js";
import { linkTo } from "./machines.js";
import { duration, epoch, idOf, moment, nameOf, plural, severity, value, withUnit } from "./words.js";

const MOST = 50;
const LABELS = { fault: "Fault", "false-alarm": "False alarm" };

export class Events {
  constructor(complain) {
    this.complain = complain;
    this.events = { all: [], own: [] };
    this.seen = null; // the change, and the machine, of which they are
    this.choices = { all: byId("events-all"), own: byId("events-own") };
    this.own = false;
    for (const [choice, button] of Object.entries(this.choices)) {
      button.addEventListener("click", () => this.choose(choice === "own"));
    }
  }

  choose(own) {
    this.own = own;
    for (const [choice, button] of Object.entries(this.choices)) setAttribute(button, "aria-pressed", (choice === "own") === own);
    this.draw();
  }

  // Asks for them again when the service says that something changed, or for those of another machine; one at a time.
  async follow(change, machine) {
    const wanted = `${change} ${machine ? idOf(machine) : ""}`;
    if (wanted === this.seen || this.asking) return;
    this.asking = true;
    try {
      const all = await (await get(`events?limit=${MOST}`)).json();
      const asked = new URLSearchParams({ limit: MOST, key: machine?.key ?? "" });
      const own = machine ? await (await get(`events?${asked}`)).json() : [];
      this.events = { all, own: own.filter((event) => event.model === machine.model) };
      this.seen = wanted;
      this.failed = false;
      this.draw();
    } catch (error) {
      if (!this.failed) this.complain(`The events cannot be read: ${error.message}`);
      this.failed = true;
    } finally {
      this.asking = false;
    }
  }

  of(machine) {
    return this.events.own.filter((event) => event.key === machine.key && event.model === machine.model);
  }

  show(models, selected, now) {
    Object.assign(this, { models, selected, now });
    this.draw();
  }

  draw() {
    if (!this.models) return;
    const shown = this.own && this.selected ? this.of(this.selected) : this.events.all;
    keyed(byId("event-list"), shown, (event) => event.id, (event) => this.#create(event));
    show(this.choices.own.parentElement, Boolean(this.selected) && this.models.length > 0);
    const most = `The newest ${MOST}; vae-detect events lists all of them.`;
    setText(byId("events-note"), shown.length >= MOST ? most : shown.length ? "" : this.own ? "This machine has had none." : "None so far.");
  }

  #create({ id }) {
    const when = make("span", { class: "when" });
    const name = make("a", { class: "name" });
    const told = make("p", { class: "told" });
    const why = make("p", { class: "why" });
    const acknowledge = make("button", { type: "button" }, "Acknowledge");
    const labels = Object.entries(LABELS).map(([label, text]) => [label, make("button", { type: "button", "aria-pressed": "false" }, text)]);
    const buttons = make("div", { class: "choice", role: "group" }, ...labels.map(([, button]) => button));
    const picture = mark("normal");
    const node = make("li", { class: "event" }, make("div", { class: "event-head" }, picture, name, when), told, why, make("div", { class: "event-do" }, acknowledge, buttons));
    acknowledge.addEventListener("click", () => this.#send(id, { acknowledged: true }));
    for (const [label, button] of labels) button.addEventListener("click", () => this.#send(id, { label }));
    const update = (event) => {
      const running = event.state === "running";
      setAttribute(node, "data-running", running);
      setAttribute(picture.firstChild, "href", running ? "#mark-anomaly" : "#mark-normal");
      setAttribute(picture, "data-state", running ? "anomaly" : "ended");
      setText(name, nameOf(event));
      setAttribute(name, "href", linkTo(event));
      setText(when, this.#when(event));
      setText(told, outline(event));
      setText(why, this.#why(event));
      show(acknowledge, !event.acknowledged);
      setAttribute(acknowledge, "aria-label", `Acknowledge event ${event.id} of ${nameOf(event)}`);
      setAttribute(buttons, "aria-label", `What event ${event.id} of ${nameOf(event)} was`);
      for (const [label, button] of labels) setAttribute(button, "aria-pressed", event.label === label);
    };
    return { node, update };
  }

  #when(event) {
    const began = moment(epoch(event.start), this.now);
    if (event.state === "running") return `since ${began}`;
    return `${began}, ${duration(epoch(event.end) - epoch(event.start))}`;
  }

  #why(event) {
    const model = this.models.find((each) => each.name === event.model);
    const unit = (column) => model?.units?.[model.columns.indexOf(column)] ?? "";
    const columns = event.columns.slice(0, 2).map((each) => `${each.column} ${withUnit(each.actual, unit(each.column))}${each.expected === null ? "" : `, expected ${value(each.expected)}`}`);
    return [...columns, ...(event.reason ? [event.reason] : [])].join("; ");
  }

  async #send(id, change) {
    try {
      await post(`events/${id}`, change);
      this.seen = null; // the next look asks for them again
      for (const event of [...this.events.all, ...this.events.own]) if (event.id === id) Object.assign(event, change);
      this.draw();
    } catch (error) {
      this.complain(`The event was not changed: ${error.message}`);
    }
  }
}

function outline(event) {
  const told = [event.state === "running" ? "running" : "ended", `peak severity ${severity(event.peak_severity)}`, plural(event.rows, "row")];
  if (event.acknowledged) told.push("acknowledged");
  return told.join(" · ");
}
