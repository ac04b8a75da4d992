// The models: what they promise, whether it still holds, and where they run, in plain words.

import { byId, keyed, make, mark, setAttribute, setMark, setText } from "./dom.js";
import { count, plural, rates } from "./words.js";

const PROVIDERS = { cpu: "the CPU", cuda: "the GPU (CUDA)", tensorrt: "the GPU (TensorRT)", openvino: "OpenVINO" };

export function showModels(models) {
  const told = models.map((model) => ({ ...model, title: models.length > 1 ? `Model ${model.name}` : "The model" }));
  keyed(byId("model-list"), told, (model) => model.name, () => {
    const title = make("h2");
    const promise = make("p", { class: "promise" });
    const holds = make("span");
    const picture = mark("normal");
    const more = make("p", { class: "hint" });
    const node = make("li", { class: "card model" }, title, promise, make("p", { class: "holds" }, picture, holds), more);
    const update = (model) => {
      setText(title, model.title);
      setText(promise, promised(model));
      setMark(picture, model.holds ? "normal" : "cannot tell");
      setAttribute(picture, "data-state", !model.holds ? "cannot tell" : model.rows ? "normal" : "");
      setAttribute(node, "data-holds", model.holds);
      setText(holds, holding(model));
      setText(more, facts(model));
    };
    return { node, update };
  });
}

const things = (model) => (model.kind === "images" ? "images" : model.kind === "windows" ? "windows" : "rows");

function promised(model) {
  return model.far > 0 ? `Promised: 1 false alarm in ${count(Number((1 / model.far).toPrecision(3)))} normal ${things(model)}.` : "No rate of false alarms is promised.";
}

function holding(model) {
  if (!model.rows) return "The calibration has not met data yet.";
  return `${model.promise[0].toUpperCase()}${model.promise.slice(1)}.`;
}

function facts(model) {
  const told = [];
  if (model.calibration_rows) {
    const worth = model.effective_rows && model.effective_rows < model.calibration_rows ? `, worth ${count(Math.round(model.effective_rows))} independent ones` : "";
    const between = model.far && model.far_high ? `: the true rate lies between ${rates(model.far_low, model.far_high, model.far)}` : "";
    told.push(`Calibrated on ${count(model.calibration_rows)} normal ${things(model)}${worth}${between}.`);
  }
  const columns = model.columns.length ? ` of ${plural(model.columns.length, "column")}` : "";
  told.push(`Recipe ${model.recipe}${columns}, version ${model.version}, on ${PROVIDERS[model.provider] ?? model.provider}. ${count(model.rows)} ${things(model)} scored.`);
  return told.join(" ");
}
