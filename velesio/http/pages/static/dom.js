// DOM: makes elements. Text is always text: nothing here, and nothing on these pages, parses markup.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

const SVG = "http://www.w3.org/2000/svg";

// An element with attributes, listeners (`onclick`), properties (`.value`) and children; null and false are left out.
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith(".")) element[name.slice(1)] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Sets text only where it differs, so that what is selected stays selected.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM12 2v2m0 16v2M4.9 4.9l1.4 1.4m11.4 11.4 1.4 1.4M2 12h2m16 0h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4",
  moon: "M20 14.5A8 8 0 0 1 9.5 4a8 8 0 1 0 10.5 10.5Z",
  auto: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 0v18M12 7h6.5M12 12h9M12 17h6.5",
  send: "M12 19V5m-6 6 6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  edit: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
  again: "M20 11a8 8 0 1 0-2.3 6.7M20 4v7h-7",
  plus: "M12 5v14M5 12h14",
  bin: "M5 7h14M10 7V4h4v3m-7 0 1 13h8l1-13",
  down: "M12 4v12m-5-5 5 5 5-5M5 20h14",
  brush: "M14 6l4 4M4 20c3 0 5-1 5-4l9-9a2.8 2.8 0 0 0-4-4l-9 9c-1 2-1 5-1 8Z",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M9 9.5h.01",
  chat: "M4 5h16v11H9l-5 4z",
  box: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
  key: "M14 10a4 4 0 1 0-3.5 4L12 15.5h2V18h2.5v2.5H20V17l-6-6Z",
  plug: "M9 3v5m6-5v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
  list: "M4 6h16M4 12h16M4 18h10",
  chart: "M4 4v16h16M8 15l4-5 3 3 5-7",
  undo: "M9 14 4 9l5-5M4 9h10a6 6 0 0 1 0 12h-3",
  close: "M6 6l12 12M18 6 6 18",
};

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "1.75",
    "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" }, svg("path", { d: ICONS[name] }));
}

// A button; with an icon alone its words are for screen readers and the tooltip.
export function button(words, onclick, { kind = "", glyph = "", bare = false, ...rest } = {}) {
  const shown = bare ? h("span", { class: "unseen" }, words) : words;
  return h("button", { type: "button", class: `button ${bare ? "icon " : ""}${kind}`, onclick, title: bare ? words : null, ...rest },
    glyph ? icon(glyph) : null, shown);
}

// What stands where nothing is to be seen yet.
export function empty(glyph, title, text, ...actions) {
  return h("div", { class: "empty" }, icon(glyph), h("strong", {}, title), h("p", {}, text), actions);
}

export function toast(text, kind = "") {
  const shown = h("div", { class: `toast ${kind}` }, text);
  $("#toasts").append(shown);
  setTimeout(() => shown.remove(), kind === "bad" ? 9000 : 4000);
}

// Copies text and says so on the button that was pressed.
export async function copy(text, pressed) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS browsers keep the clipboard from pages; the old way still works.
    const area = h("textarea", { class: "unseen", ".value": text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    pressed.focus();
  }
  toast("Copied");
}

// Asks before something that cannot be undone; answers whether it was confirmed.
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "ask-title", onclose: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
      h("form", { method: "dialog", class: "body" }, h("h2", { id: "ask-title" }, title), h("p", { class: "quiet wrap" }, text),
        h("div", { class: "actions" }, h("button", { class: "button", value: "no" }, "Keep it as it is"),
          h("button", { class: "button danger", value: "yes" }, action))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
