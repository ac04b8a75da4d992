// Small tools over the document. Texts are only ever put in as texts: what comes from data can be no HTML.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Writes nothing where nothing changes: a screen reader would read it again, a selection would be lost.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The name of a column, which may go on in the next line after an underscore.
export function setName(node, name) {
  if (node.textContent !== name) node.replaceChildren(...name.split(/(?<=_)/).flatMap((part, i) => (i ? [make("wbr"), part] : [part])));
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

const SVG = "http://www.w3.org/2000/svg";

// The mark of a state, by shape as well as by colour.
export function mark(state) {
  const picture = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  picture.classList.add("mark");
  picture.setAttribute("aria-hidden", "true");
  picture.append(use);
  setMark(picture, state);
  return picture;
}

export function setMark(picture, state) {
  setAttribute(picture, "data-state", state);
  setAttribute(picture.firstChild, "href", `#mark-${state.replace(" ", "-")}`);
}

// Makes the children of `parent` those of `items`, in their order; a child lives as long as its key is there.
// `create(item)` returns { node, update }.
const children = new WeakMap();

export function keyed(parent, items, keyOf, create) {
  const known = children.get(parent) ?? new Map();
  children.set(parent, known);
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Map(items.map((item) => [keyOf(item), item]));
  for (const [key, { node }] of known) {
    if (!wanted.has(key)) {
      node.remove();
      known.delete(key);
    }
  }
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    if (!known.has(key)) known.set(key, create(item));
    const { node, update } = known.get(key);
    update(item);
    if (node === place) {
      place = place.nextElementSibling;
    } else {
      parent.insertBefore(node, place);
    }
  }
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}
