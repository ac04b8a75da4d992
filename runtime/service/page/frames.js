// The last images, each beside its heat map.

import { byId, keyed, make, mark, setMark, setText, show } from "./dom.js";
import { get } from "./link.js";
import { severity, timeToSecond } from "./words.js";

// By fetch, which sends the token; an image that names an address would not.
async function fill(image, path) {
  const content = await (await get(path)).blob();
  const reader = new FileReader();
  reader.addEventListener("load", () => (image.src = reader.result));
  reader.readAsDataURL(content);
}

export class Frames {
  // Of the model that is looked at; asks again when something has changed.
  async follow(model) {
    show(byId("frames"), model?.kind === "images" && byId("frame-list").children.length > 0);
    if (model?.kind !== "images" || this.asking || this.rows === model.rows) return;
    this.asking = true;
    try {
      const frames = (await (await get("frames")).json()).filter((frame) => frame.model === model.name);
      this.rows = model.rows;
      keyed(byId("frame-list"), frames, (frame) => frame.number, create);
    } catch {
      // The stream tells when the service is away; what was seen stays.
    } finally {
      this.asking = false;
    }
  }
}

function create(frame) {
  const what = `frame of ${timeToSecond(frame.time)}`;
  const images = ["", ".heat"].map((kind) => {
    const image = make("img", { alt: kind ? `Heat map of the ${what}` : `The ${what}`, width: frame.width, height: frame.height });
    fill(image, `frames/${frame.number}${kind}.png`).catch(() => {}); // it made room for a newer one
    return image;
  });
  const picture = mark("normal");
  setMark(picture, frame.is_anomaly ? "anomaly" : "normal");
  const text = make("span");
  setText(text, `${frame.is_anomaly ? "anomaly" : "normal"} · severity ${severity(frame.severity)} · ${timeToSecond(frame.time)}`);
  const node = make("li", {}, make("div", { class: "pair" }, ...images), make("p", {}, picture, text));
  return { node, update: () => {} };
}
