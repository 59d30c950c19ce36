// API: asks the routes that programs ask, with the session's token, and reads refusals of every family.

const csrf = document.querySelector("meta[name=csrf]").content;

export class Refusal extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// The server does not answer at all.
export class Offline extends Refusal {
  constructor() {
    super("The server does not answer. What you typed is kept; it goes on when the server is back.");
  }
}

export async function ask(method, path, body, { signal, headers = {} } = {}) {
  const response = await send(method, path, body, signal, headers);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, options) => ask("GET", path, undefined, options);
export const post = (path, body = {}, options) => ask("POST", path, body, options);

export async function send(method, path, body, signal, headers = {}) {
  const told = { Accept: "application/json", ...headers };
  if (csrf) told["X-Velesio-CSRF"] = csrf;
  if (body !== undefined) told["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers: told, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    dispatchEvent(new Event("velesio:lost"));
    throw new Offline();
  }
  if (response.status === 401) dispatchEvent(new Event("velesio:signed-out"));
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const text = await response.text();
  let told = null;
  try { told = JSON.parse(text); } catch { /* a proxy's page */ }
  const error = told?.error;
  const detail = Array.isArray(told?.detail) ? told.detail.map((each) => `${each.loc?.at(-1)}: ${each.msg}`).join("; ") : told?.detail;
  const message = error?.message ?? detail ?? (typeof error === "string" ? error : "") ?? "";
  return new Refusal(message || `The server answered ${response.status} ${response.statusText}`, response.status, error?.code ?? "");
}

// The events of a streamed answer as `{event, id, data}`, data parsed; ends at `[DONE]`.
export async function* events(path, body, { signal, method = "POST" } = {}) {
  const response = await send(method, path, body, signal, { Accept: "text/event-stream" });
  for await (const each of parsed(response.body)) {
    if (each.data === "[DONE]") return;
    each.data = JSON.parse(each.data);
    if (each.data?.error) throw new Refusal(each.data.error.message ?? String(each.data.error), each.data.error.code, each.data.error.type);
    yield each;
  }
}

async function* parsed(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      dispatchEvent(new Event("velesio:lost"));
      throw new Offline();
    }
    if (part.done) return;
    const blocks = (rest + part.value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const found = { event: "message", id: "", data: "" };
      for (const line of block.split("\n")) {
        const colon = line.indexOf(":");
        if (colon > 0) {
          const name = line.slice(0, colon);
          const value = line.slice(colon + 1).replace(/^ /, "");
          found[name] = name === "data" && found.data ? `${found.data}\n${value}` : value;
        }
      }
      if (found.data) yield found;
    }
  }
}
