// Snippets: a request of this page as a program would send it, in three languages.

import { keyed } from "./frame.js";
import { button, copy, fill, h } from "./dom.js";

const LANGUAGES = { curl: "curl", python: "Python", javascript: "JavaScript" };
let language = "curl";
const shown = new Set();

// Shows the request that `request()` describes: `{path, body, stream}`; call what it answers to begin
// with and when that changes.
export function snippets(place, request) {
  const code = h("code");
  const choices = Object.entries(LANGUAGES).map(([name, title]) =>
    h("button", { type: "button", "data-name": name, onclick: () => { language = name; for (const each of shown) each(); } }, title));
  const write = () => {
    for (const choice of choices) choice.setAttribute("aria-pressed", choice.dataset.name === language);
    fill(code, WRITERS[language](request()));
  };
  const pre = h("pre", { tabindex: 0, role: "region", "aria-label": "The request as code" }, code);
  const take = button("Copy", () => copy(code.textContent, take), { kind: "little", glyph: "copy" });
  place.append(h("details", { class: "card fold" }, h("summary", {}, "The same from your program"),
    h("div", { class: "body" }, h("div", { class: "code-head" }, h("div", { class: "segments", role: "group", "aria-label": "Language" }, choices), take), h("div", { class: "code" }, pre))));
  shown.add(write);
  return write;
}

const address = () => location.origin;
const pretty = (body) => JSON.stringify(body, shorten, 2);
const LONGEST = 160;

// Pictures as base64 would bury the request.
function shorten(name, value) {
  return typeof value === "string" && value.length > 4000 && !value.includes(" ") ? `${value.slice(0, 24)}…` : value;
}

export function curl({ path, body, stream }) {
  const quoted = pretty(body).replaceAll("'", "'\\''");
  const lines = [`curl ${stream ? "-N " : ""}${address()}${path}`, "-H 'Content-Type: application/json'"];
  if (keyed) lines.push('-H "Authorization: Bearer $VELESIO_KEY"');
  return `${lines.join(" \\\n  ")} \\\n  -d '${quoted}'`;
}

// JSON's words for nothing, true and false are others in Python.
export function literal(value, indent = 0) {
  const pad = "    ".repeat(indent + 1);
  const end = "    ".repeat(indent);
  if (value === null || value === undefined) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (typeof value === "string") return JSON.stringify(shorten("", value)).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
  if (typeof value !== "object") return String(value);
  const items = Array.isArray(value) ? value.map((each) => literal(each, indent + 1))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each, indent + 1)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const flat = `${open}${items.join(", ")}${close}`;
  return flat.length + indent * 4 < Math.min(LONGEST, 72) && !flat.includes("\n") ? flat : `${open}\n${items.map((each) => `${pad}${each},\n`).join("")}${end}${close}`;
}

export function python({ path, body, stream }) {
  const key = keyed ? 'os.environ["VELESIO_KEY"]' : '"none"';
  const imports = keyed ? "import os\n" : "";
  const { model, messages, ...rest } = body;
  if (path === "/v1/chat/completions") {
    const known = ["temperature", "max_tokens", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"];
    const plain = Object.entries(rest).filter(([name]) => known.includes(name)).map(([name, value]) => `    ${name}=${literal(value, 1)},\n`).join("");
    const others = Object.fromEntries(Object.entries(rest).filter(([name]) => !known.includes(name) && !name.startsWith("stream") && name !== "timings_per_token"));
    const extra = Object.keys(others).length ? `    extra_body=${literal(others, 1)},\n` : "";
    return `${imports}from openai import OpenAI  # pip install openai

client = OpenAI(base_url="${address()}/v1", api_key=${key})
stream = client.chat.completions.create(
    model=${literal(model)},
    messages=${literal(messages, 1)},
${plain}${extra}    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)`;
  }
  const headers = keyed ? `{"Content-Type": "application/json", "Authorization": "Bearer " + ${key}}` : '{"Content-Type": "application/json"}';
  const read = stream ? `with urllib.request.urlopen(request) as answer:
    for line in answer:
        if line.startswith(b"data: "):
            print(json.loads(line[6:]).get("content", ""), end="", flush=True)`
    : body.prompt !== undefined && path.startsWith("/sdapi") ? `answer = json.load(urllib.request.urlopen(request))
for number, picture in enumerate(answer["images"]):
    pathlib.Path(f"picture-{number}.png").write_bytes(base64.b64decode(picture))`
      : "print(json.load(urllib.request.urlopen(request)))";
  const more = path.startsWith("/sdapi") ? "import base64\nimport json\n" : "import json\n";
  const last = path.startsWith("/sdapi") ? "import pathlib\nimport urllib.request\n" : "import urllib.request\n";
  return `${more}${imports}${last}
body = ${literal(body)}
request = urllib.request.Request(
    "${address()}${path}",
    json.dumps(body).encode(),
    ${headers},
)
${read}`;
}

export function javascript({ path, body, stream }) {
  const headers = keyed ? '{ "Content-Type": "application/json", Authorization: `Bearer ${process.env.VELESIO_KEY}` }' : '{ "Content-Type": "application/json" }';
  const call = `const answer = await fetch("${address()}${path}", {
  method: "POST",
  headers: ${headers},
  body: JSON.stringify(${pretty(body).replaceAll("\n", "\n  ")}),
});`;
  if (!stream) return path.startsWith("/sdapi") ? `import { writeFile } from "node:fs/promises";

${call}
const { images } = await answer.json();
await Promise.all(images.map((picture, number) => writeFile(\`picture-\${number}.png\`, picture, "base64")));` : `${call}\nconsole.log(await answer.json());`;
  const piece = path === "/completion" ? "event.content" : 'event.choices[0]?.delta.content ?? ""';
  return `${call}
let rest = "";
for await (const part of answer.body.pipeThrough(new TextDecoderStream())) {
  const events = (rest + part).split("\\n\\n");
  rest = events.pop();
  for (const text of events) {
    if (!text.startsWith("data: ") || text === "data: [DONE]") continue;
    const event = JSON.parse(text.slice(6));
    process.stdout.write(${piece});
  }
}`;
}

const WRITERS = { curl, python, javascript };
