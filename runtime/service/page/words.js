// Numbers, times and states in words.

export const STATES = ["anomaly", "cannot tell", "stale", "normal"]; // the worst first

const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 4, useGrouping: false });
const counts = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", hourCycle: "h23" });
const year = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

export const value = (number) => (number === null || number === undefined ? "–" : significant.format(number));
export const count = (number) => counts.format(number);
export const severity = (number) => (number === null || number === undefined ? "–" : number.toFixed(2));
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

export const timeOfDay = (s) => clock.format(s * 1000);
export const timeToSecond = (s) => seconds.format(s * 1000);

// With the day where it is not today.
export function moment(s, now) {
  const [then, today] = [day.format(s * 1000), day.format(now * 1000)];
  if (Math.abs(now - s) > 15e6) return `${year.format(s * 1000)}, ${timeOfDay(s)}`;
  return then === today ? timeOfDay(s) : `${then}, ${timeOfDay(s)}`;
}

export function duration(s) {
  if (s < 1) return "less than a second";
  if (s < 90) return plural(Math.round(s), "second");
  if (s < 5400) return plural(Math.round(s / 60), "minute");
  if (s < 129600) return plural(Math.round(s / 3600), "hour");
  return plural(Math.round(s / 86400), "day");
}

export function ago(s) {
  return s < 2 ? "just now" : `${duration(s)} ago`;
}

// When a row was; its time may be that of a recording.
export function when(s, now) {
  return Math.abs(now - s) < 86400 ? ago(now - s) : `of ${moment(s, now)}`;
}

// Seconds since 1970; recordings whose times are numbers have them written as such.
export const epoch = (written) => (/^-?[\d.]+$/.test(written) ? Number(written) : Date.parse(written) / 1000);

export const nameOf = (machine) => machine.key || machine.model;
export const idOf = (machine) => `${machine.model}/${machine.key}`;

// Two rates of so many rows, such that the promised one is a handy number: 0.7 and 1.3 in 1,000.
export function rates(low, high, promised) {
  const of = 10 ** Math.max(2, Math.ceil(-Math.log10(promised) - 1e-9));
  const told = (share) => significant.format(Number((share * of).toPrecision(2)));
  return `${told(low)} and ${told(high)} in ${count(of)}`;
}

export function withUnit(number, unit) {
  return unit ? `${value(number)} ${unit}` : value(number);
}
