// The page: joins what the service tells with what somebody looks at.

import { Detail, selectedOf } from "./detail.js";
import { byId, setAttribute, setText, show } from "./dom.js";
import { Events } from "./events.js";
import { Frames } from "./frames.js";
import { Live, get, post, token } from "./link.js";
import { Machines, inOrder, linkTo, summary } from "./machines.js";
import { showModels } from "./models.js";
import { ago, idOf, nameOf } from "./words.js";

const NOTICE_MS = 8000;
const SHAPES = {
  normal: "<circle cx='8' cy='8' r='6' fill='none' stroke='#2c8a76' stroke-width='2.5'/>",
  anomaly: "<path d='M8 1l7.5 14H.5z' fill='#d33a2f'/>",
  "cannot tell": "<path d='M8 1l7 7-7 7-7-7z' fill='#c98a1b'/>",
  stale: "<circle cx='8' cy='8' r='6' fill='none' stroke='#7d8098' stroke-width='2.5' stroke-dasharray='3 2.5'/>",
};
const page = { snapshot: null, came: 0, detail: null, selected: null, link: "connecting" };

const machines = new Machines();
const detail = new Detail();
const events = new Events(complain);
const frames = new Frames();
const live = new Live(take, tell);

// The service's clock, which need not be this device's.
const now = () => (page.snapshot ? page.snapshot.time + (performance.now() - page.came) / 1000 : 0);

function take(name, data) {
  if (name === "live") {
    page.snapshot = data;
    page.came = performance.now();
  }
  if (name === "detail") page.detail = data;
  draw();
}

function tell(state, why = "") {
  page.link = state;
  if (state === "no-token") {
    ask(token.get() ? "This token is not one of the service's." : "");
    return;
  }
  const words = { live: "live", connecting: "connecting", away: "reconnecting", paused: "paused" };
  setAttribute(document.body, "data-link", state);
  setAttribute(byId("link"), "title", why);
  setText(byId("link"), words[state]);
  if (state !== "live") draw();
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // an address that somebody typed
  }
}

// What is shown in full: what the address says, else the worst.
function selected() {
  const [, model, key] = location.hash.split("/").map(decoded);
  if (model !== undefined && key !== undefined) return { model, key, chosen: true };
  const first = page.snapshot && inOrder(page.snapshot.machines)[0];
  return first ? { model: first.model, key: first.key, chosen: page.snapshot.machines_total === 1 } : null;
}

// The one that was the worst first stays, until somebody looks elsewhere.
function look() {
  const kept = page.follows && (page.follows.chosen || selectedOf(page.snapshot, idOf(page.follows)));
  const wanted = kept ? page.follows : selected();
  page.follows = wanted;
  const id = wanted && idOf(wanted);
  if (wanted && id !== page.selected) {
    page.selected = id;
    page.detail = null;
    live.open(`?${new URLSearchParams({ model: wanted.model, key: wanted.key })}`);
  }
  return wanted;
}

// One that the list does not hold is told by its details alone.
function machineOf(wanted) {
  const known = selectedOf(page.snapshot, page.selected);
  if (known || !wanted) return known;
  const last = page.detail?.recent.at(-1);
  return { ...wanted, source: "", state: last ? "normal" : "cannot tell", why: last ? "" : "no row of this name has come", severity: last?.[1] ?? null, time: last?.[0] ?? null, odd: null, is_odd: false, own: false };
}

function draw() {
  const { snapshot } = page;
  if (!snapshot) return;
  const wanted = look();
  const empty = !snapshot.machines.length;
  const several = snapshot.machines_total > 1;
  document.body.dataset.view = empty ? "empty" : !several ? "one" : wanted?.chosen ? "chosen" : "list";
  show(byId("door"), false);
  show(byId("all"), true);
  show(byId("machines"), several);
  show(byId("empty"), empty);
  show(byId("detail"), !empty);
  const [state, sentence] = summary(snapshot.machines, snapshot.machines_total);
  told(state, sentence);
  machines.show(snapshot, page.selected, now());
  const machine = empty ? null : machineOf(wanted);
  if (machine) {
    const model = snapshot.models.find((each) => each.name === machine.model);
    const known = page.detail && idOf(page.detail) === page.selected ? page.detail : null;
    frames.follow(model);
    detail.show({ machine, detail: known, model, events: events.of(machine), now: now() });
  }
  if (empty) example(snapshot.models[0]);
  events.show(snapshot.models, several ? machine : null, now());
  events.follow(snapshot.change, machine);
  showModels(snapshot.models);
}

function told(state, sentence) {
  setText(byId("summary"), sentence);
  setAttribute(byId("summary"), "data-state", state);
  setText(byId("since"), page.link === "live" ? "" : `as of ${ago(now() - page.snapshot.time)}`);
  document.title = `${state === "normal" ? "" : "● "}${sentence} – vae-detect`;
  const icon = `data:image/svg+xml,${encodeURIComponent(`<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${SHAPES[state]}</svg>`)}`;
  setAttribute(byId("icon"), "href", icon);
}

function example(model) {
  setText(byId("empty-title"), model ? "Ready. Nothing has come yet." : "No model answers yet.");
  show(byId("example").parentElement, Boolean(model));
  show(byId("empty-text"), Boolean(model));
  const address = new URL("score?key=pump-1", location.href.replace(/#.*/, ""));
  const token = document.documentElement.dataset.token === "yes" ? " -H 'Authorization: Bearer TOKEN'" : "";
  const body = !model || model.kind === "images" ? "--data-binary @photo.jpg" : `-d '${page.row ?? `[${model.columns.join(", ")}]`}'`;
  setText(byId("example"), `curl${token} '${address}' ${body}`);
  if (page.row === undefined && model) askRow();
}

// A row that can be sent as it stands, of those that the service tells strangers.
async function askRow() {
  page.row = null;
  try {
    const told = await (await get("openapi.json")).json();
    const examples = told.paths["/score"].post.requestBody.content["application/json"]?.examples ?? {};
    const [first] = Object.values(examples);
    if (first) page.row = JSON.stringify(first.value);
    draw();
  } catch {
    // The names of the columns stand there instead.
  }
}

function complain(text) {
  setText(byId("notice"), text);
  show(byId("notice"), true);
  clearTimeout(page.notice);
  page.notice = setTimeout(() => show(byId("notice"), false), NOTICE_MS);
}

// --- the token -------------------------------------------------------------------------------------------------------

function ask(why) {
  live.close();
  token.forget();
  show(byId("all"), false);
  show(byId("door"), true);
  setText(byId("link"), "locked");
  setText(byId("token-error"), why);
  byId("token").focus();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token").value.trim());
  byId("token").value = "";
  setText(byId("token-error"), "");
  live.open("");
});

// --- "this is normal" ------------------------------------------------------------------------------------------------

byId("normal-button").addEventListener("click", () => {
  setText(byId("normal-answer"), "");
  byId("normal-dialog").showModal();
});
byId("normal-close").addEventListener("click", () => byId("normal-dialog").close());
byId("normal-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { model, key } = page.follows;
  setText(byId("normal-answer"), "Keeping…");
  try {
    const kept = await post("normal", { model, key, minutes: Number(byId("minutes").value) });
    setText(byId("normal-answer"), `Kept as ${kept.file}.`);
  } catch (error) {
    setText(byId("normal-answer"), `Not kept: ${error.message}`);
  }
});

// --- begin -----------------------------------------------------------------------------------------------------------

addEventListener("hashchange", () => {
  if (!location.hash.startsWith("#/")) return;
  page.follows = null;
  if (location.hash === "#/") events.choose(false);
  draw();
  byId(location.hash === "#/" ? "machines" : "detail").focus({ preventScroll: true });
  if (innerWidth < 900) scrollTo(0, 0);
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId(byId("machines").hidden ? "detail" : "machines").focus();
});

// Times go on without news; and on a link that is lost, for how long.
setInterval(() => document.hidden || draw(), 5000);

if (document.documentElement.dataset.token === "yes" && !token.get()) ask("");
else live.open("");
