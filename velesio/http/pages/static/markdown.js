// Markdown: what models write, as elements. Whatever is not known stays text; markup is text as well.

import { h } from "./dom.js";

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,9})[.)])\s+(.*)$/;

export function rendered(text) {
  return blocks(text.split("\n"));
}

function blocks(lines) {
  const made = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = line.match(FENCE);
    const heading = line.match(/^#{1,6}\s+(.*)$/);
    if (fence) {
      const body = [];
      at += 1;
      while (at < lines.length && !lines[at].trim().startsWith(fence[1])) body.push(lines[at++]);
      at += 1;
      made.push(h("pre", { tabindex: 0, role: "region", "aria-label": fence[2] ? `Code, ${fence[2]}` : "Code" }, h("code", {}, body.join("\n"))));
    } else if (heading) {
      made.push(h("h3", {}, inline(heading[1])));
      at += 1;
    } else if (ITEM.test(line)) {
      const [element, next] = list(lines, at);
      made.push(element);
      at = next;
    } else if (/^>\s?/.test(line)) {
      const quoted = [];
      while (at < lines.length && /^>\s?/.test(lines[at])) quoted.push(lines[at++].replace(/^>\s?/, ""));
      made.push(h("blockquote", {}, blocks(quoted)));
    } else if (line.trim() === "") {
      at += 1;
    } else {
      const body = [];
      while (at < lines.length && lines[at].trim() !== "" && !FENCE.test(lines[at]) && !ITEM.test(lines[at]) && !/^(#{1,6}\s|>)/.test(lines[at])) body.push(lines[at++]);
      // A line that begins like something else and is not ("#1 is") has to go on too.
      if (!body.length) body.push(lines[at++]);
      made.push(h("p", {}, inline(body.join("\n"))));
    }
  }
  return made;
}

function list(lines, begin) {
  const first = lines[begin].match(ITEM);
  const numbered = first[2] !== undefined;
  const items = [];
  let at = begin;
  while (at < lines.length) {
    const item = lines[at].match(ITEM);
    if (item && item[1].length <= first[1].length + 1) {
      if ((item[2] !== undefined) !== numbered) break;
      items.push([item[3]]);
    } else if (items.length && lines[at].trim() !== "" && /^\s{2,}/.test(lines[at])) {
      items.at(-1).push(lines[at].replace(/^\s{2,4}/, ""));
    } else if (lines[at].trim() !== "" || !ITEM.test(lines[at + 1] ?? "")) break;
    at += 1;
  }
  const made = items.map(([head, ...rest]) => h("li", {}, inline(head), rest.length ? blocks(rest) : null));
  return [numbered ? h("ol", { start: first[2] === "1" ? null : first[2] }, made) : h("ul", {}, made), at];
}

const SPAN = /(`+)([^`]|[^`].*?[^`])\1(?!`)|\*\*(?=\S)(.+?)\*\*|__(?=\S)(.+?)__|\*(?=[^\s*])([^*]+?)\*|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)/s;

function inline(text) {
  const made = [];
  let rest = text;
  for (;;) {
    const found = rest.match(SPAN);
    if (!found) break;
    if (found.index) made.push(rest.slice(0, found.index));
    const [whole, , code, strong, strong2, emphasis, words, address] = found;
    if (code !== undefined) made.push(h("code", {}, code));
    else if (strong ?? strong2) made.push(h("strong", {}, inline(strong ?? strong2)));
    else if (emphasis) made.push(h("em", {}, inline(emphasis)));
    else made.push(h("a", { href: address, rel: "noopener noreferrer nofollow", target: "_blank" }, words));
    rest = rest.slice(found.index + whole.length);
  }
  made.push(rest);
  return made;
}
