// The way to the service: requests with the token, and its events as they come. Fetch reads the events, since an
// EventSource could send no token.

const PLACE = `vae-detect token of ${location.pathname}`; // other services may be behind other paths of this host
const SILENCE_MS = 25_000; // the service gives a sign of life every 10 s
const LONGEST_WAIT_MS = 15_000;
const HIDDEN_MS = 30_000;

export const token = {
  get: () => sessionStorage.getItem(PLACE),
  set: (value) => sessionStorage.setItem(PLACE, value),
  forget: () => sessionStorage.removeItem(PLACE),
};

function headers(more = {}) {
  const kept = token.get();
  return kept ? { ...more, authorization: `Bearer ${kept}` } : more;
}

export class NoTokenError extends Error {}

async function answered(response) {
  if (response.status === 401) throw new NoTokenError("a token is needed");
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error(told.error ?? `the service answered ${response.status}`);
  }
  return response;
}

export async function get(path) {
  return answered(await fetch(path, { headers: headers(), cache: "no-store" }));
}

export async function post(path, body) {
  const told = headers({ "content-type": "application/json" });
  const response = await fetch(path, { method: "POST", headers: told, body: JSON.stringify(body) });
  return (await answered(response)).json();
}

// The events of a stream as [name, data].
async function* events(response, alive) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n");
      const name = lines.find((line) => line.startsWith("event: "));
      const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (name) yield [name.slice(7), data.join("\n")];
    }
  }
}

export class Live {
  // `take(name, data)` gets what comes, `tell(state, why)` one of connecting, live, away, paused, no-token.
  constructor(take, tell) {
    this.take = take;
    this.tell = tell;
    this.query = "";
    this.failures = 0;
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.#again());
  }

  // Begins anew, with another machine in full.
  open(query) {
    this.query = query;
    this.#again();
  }

  close() {
    this.stop?.abort();
    clearTimeout(this.waiting);
    clearTimeout(this.silence);
  }

  #again() {
    this.close();
    this.#run();
  }

  // Nobody looks: others may need the place, and a phone its battery.
  #seen() {
    clearTimeout(this.leaving);
    if (document.hidden) {
      this.leaving = setTimeout(() => {
        this.close();
        this.tell("paused");
        this.paused = true;
      }, HIDDEN_MS);
    } else if (this.paused) {
      this.paused = false;
      this.#again();
    }
  }

  async #run() {
    const stop = new AbortController();
    this.stop = stop;
    const alive = () => {
      clearTimeout(this.silence);
      this.silence = setTimeout(() => this.#lost(stop, "the service is silent"), SILENCE_MS);
    };
    alive();
    try {
      const options = { headers: headers(), cache: "no-store", signal: stop.signal };
      const response = await answered(await fetch(`live${this.query}`, options));
      for await (const [name, data] of events(response, alive)) {
        if (stop.signal.aborted) return;
        this.failures = 0;
        this.tell("live");
        this.take(name, JSON.parse(data));
      }
      this.#lost(stop, "the service has stopped");
    } catch (error) {
      if (error instanceof NoTokenError) {
        this.close();
        this.tell("no-token");
      } else {
        this.#lost(stop, error instanceof TypeError ? "the service cannot be reached" : error.message);
      }
    }
  }

  #lost(stop, why) {
    if (stop.signal.aborted) return;
    this.close();
    this.failures += 1;
    this.tell("away", why);
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.failures) * (0.75 + Math.random() / 2);
    this.waiting = setTimeout(() => this.#run(), wait);
  }
}
