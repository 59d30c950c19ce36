// Chat: a conversation with a model, whose answers stream in and can be stopped, made again, continued and edited.

import { Offline, ask, events } from "./api.js";
import { $, button, copy, empty, fill, h, icon, say } from "./dom.js";
import { rendered } from "./markdown.js";
import { TEXT, panel } from "./parameters.js";
import { snippets } from "./snippets.js";
import { Talks, titleOf } from "./talks.js";

const STARTERS = ["Explain in three sentences how a rainbow comes about.", "Write a limerick about a lighthouse keeper.", "What should I pack for a week in the mountains?"];
const PATH = "/v1/chat/completions";

export function start({ model }) {
  const talks = new Talks();
  const turns = $("#turns");
  const text = $("#chat-text");
  const system = $("#system");
  const send = $("#chat-send");
  let running = null;

  const asked = (messages) => ({ model: model()?.id ?? "", messages, ...parameters.changed() });
  const messages = (given = talks.current.turns) => [
    ...(talks.current.system.trim() ? [{ role: "system", content: talks.current.system }] : []),
    ...given.map((turn) => ({ role: turn.role, content: turn.text })),
  ];
  const sample = () => {
    const { turns: all, session, id } = talks.current;
    const given = all.at(-1)?.role === "assistant" ? all.slice(0, -1) : all;
    const sent = given.length ? given : [{ role: "user", text: text.value || "Hello!" }];
    return { path: PATH, stream: true, body: { ...asked(messages(session ? sent.slice(-1) : sent)), ...(session ? { session_id: id } : {}), stream: true } };
  };
  const parameters = panel($("#chat-parameters"), TEXT, "chat", () => code());
  const code = snippets($("#chat-code"), sample);

  // The list of conversations
  const select = $("#talks");
  $("#talk-tools").append(
    button("New conversation", () => { talks.begin(); open(); text.focus(); }, { kind: "plain little", glyph: "plus", bare: true }),
    button("Delete this conversation", () => { stop(); forget(talks.current); talks.remove(); open(); }, { kind: "plain little", glyph: "bin", bare: true }),
  );
  select.addEventListener("change", () => { stop(); talks.choose(select.value); open(); });
  system.addEventListener("input", () => { talks.current.system = system.value; talks.keep(); code(); });

  const session = $("#session");
  session.addEventListener("change", () => {
    talks.current.session = session.checked;
    if (!session.checked) forget(talks.current);
    talks.keep();
    code();
  });

  // Has the server forget a conversation; it need not know it.
  async function forget(talk) {
    if (talk.known === undefined) return;
    talk.known = undefined;
    await ask("DELETE", `/v1/sessions/${talk.id}`).catch(() => {});
  }

  // What has to be sent for an answer to the last turn of a talk: all of it, or where the server remembers, the new part.
  async function due(talk, begun) {
    const given = begun ? talk.turns : talk.turns.slice(0, -1);
    if (!talk.session || begun) return asked(messages(given));
    const fresh = talk.known === given.length - 1;
    if (!fresh) await forget(talk);
    return { ...asked(messages(fresh ? given.slice(-1) : given)), session_id: talk.id };
  }

  function listed() {
    fill(select, talks.all.map((talk) => h("option", { value: talk.id }, titleOf(talk))));
    select.value = talks.current.id;
  }

  function open() {
    stop();
    listed();
    system.value = talks.current.system;
    session.checked = Boolean(talks.current.session);
    draw();
    code();
  }

  function draw() {
    const shown = talks.current.turns;
    if (shown.length) fill(turns, shown.map((turn, place) => drawn(turn, place)));
    else {
      fill(turns, h("div", {}, empty("chat", "What would you like to know?", "Everything stays on this server. Pick one to begin with, or write your own.",
        h("div", { class: "starters" }, STARTERS.map((words) => h("button", { type: "button", class: "button", onclick: () => submit(words) }, words))))));
    }
    turns.scrollTop = turns.scrollHeight;
  }

  function drawn(turn, place) {
    const element = h("article", { class: `turn ${turn.role}`, "aria-label": turn.role === "user" ? "You" : "Answer" });
    const body = h("div", { class: "text" });
    const meta = h("div", { class: "meta" });
    element.append(body, meta);
    if (turn.role === "user") {
      body.append(turn.text);
      meta.append(
        button("Edit", () => edit(element, place), { kind: "plain little", glyph: "edit", bare: true }),
        h("button", { type: "button", class: "button plain little icon", title: "Copy", onclick: (event) => copy(turn.text, event.currentTarget) }, icon("copy"), h("span", { class: "unseen" }, "Copy")),
      );
    } else finished(turn, place, body, meta);
    return element;
  }

  function finished(turn, place, body, meta) {
    fill(body, thought(turn), rendered(turn.text.trimStart()));
    if (turn.error) body.append(h("p", { class: "note bad", role: "alert" }, turn.error));
    const last = place === talks.current.turns.length - 1;
    fill(meta,
      h("button", { type: "button", class: "button plain little icon", title: "Copy", onclick: (event) => copy(turn.text, event.currentTarget) }, icon("copy"), h("span", { class: "unseen" }, "Copy")),
      button("Regenerate", () => regenerate(place), { kind: "plain little", glyph: "again", bare: true }),
      last && turn.end !== "stop" && turn.text ? button("Continue", () => answer(turn), { kind: "plain little" }) : null,
      turn.stats ? h("span", { class: "stats" }, turn.stats) : null,
    );
  }

  function thought(turn) {
    return turn.thought ? h("details", { class: "thought" }, h("summary", {}, "Reasoning"), h("div", {}, rendered(turn.thought.trimStart()))) : null;
  }

  function edit(element, place) {
    const turn = talks.current.turns[place];
    const area = h("textarea", { rows: Math.min(8, turn.text.split("\n").length + 1), ".value": turn.text, "aria-label": "Edit your message" });
    element.classList.add("editing");
    fill(element, area, h("div", { class: "row" },
      button("Send again", () => { talks.current.turns.length = place; submit(area.value); }, { kind: "main little" }),
      button("Leave it", () => draw(), { kind: "plain little" })));
    area.addEventListener("keydown", (event) => { if (event.key === "Escape") draw(); });
    area.focus();
  }

  function regenerate(place) {
    stop();
    talks.current.turns.length = place;
    draw();
    answer();
  }

  function submit(words) {
    if (!words.trim() || running) return;
    talks.current.turns.push({ role: "user", text: words.trim() });
    text.value = "";
    listed();
    draw();
    answer();
  }

  function stop() {
    running?.abort();
  }

  // Asks for an answer, or for the rest of `begun`.
  async function answer(begun = null) {
    stop();
    const talk = talks.current;
    const turn = begun ?? { role: "assistant", text: "", thought: "" };
    if (!begun) talk.turns.push(turn);
    delete turn.error;
    draw();
    const place = talk.turns.length - 1;
    const element = turns.lastElementChild;
    const [body, meta] = element.children;
    fill(meta);
    if (!turn.text) fill(body, h("span", { class: "waiting", role: "status" }, h("i"), h("i"), h("i"), h("span", { class: "unseen" }, "Waiting for the first token")));
    const control = new AbortController();
    running = control;
    busy(true);
    const clock = { began: performance.now(), first: 0, count: 0, rate: 0 };
    turn.end = "";
    const paint = painter(() => {
      const pinned = turns.scrollHeight - turns.scrollTop - turns.clientHeight < 80;
      fill(body, thought(turn), rendered(turn.text.trimStart()));
      body.classList.add("caret");
      say(meta, stats(clock));
      if (pinned) turns.scrollTop = turns.scrollHeight;
    });
    try {
      for await (const { data } of events(PATH, { ...await due(talk, begun), stream: true, timings_per_token: true, stream_options: { include_usage: true } }, { signal: control.signal })) {
        take(data, turn, clock);
        paint();
      }
    } catch (error) {
      if (error.name === "AbortError") turn.end = "stopped";
      else turn.error = error instanceof Offline && turn.text ? "The connection broke here. Continue when the server is back." : error.message;
    }
    paint.cancel();
    turn.stats = stats(clock);
    // Only a whole answer is a turn of the server's session.
    if (talk.session && !begun && (turn.end === "stop" || turn.end === "length")) talk.known = talk.turns.length;
    else if (talk.known !== undefined) talk.known = -1;
    talks.keep();
    if (running === control) {
      running = null;
      busy(false);
    }
    if (talk !== talks.current) return;
    body.classList.remove("caret");
    finished(turn, place, body, meta);
    say($("#chat-said"), turn.error ?? (turn.end === "stopped" ? "Stopped." : `Answer: ${turn.text}`));
    code();
  }

  function take(data, turn, clock) {
    const choice = data.choices[0];
    const words = choice?.delta.content ?? "";
    const inner = choice?.delta.reasoning_content ?? "";
    if ((words || inner) && !clock.first) clock.first = performance.now();
    turn.text += words;
    turn.thought = (turn.thought ?? "") + inner;
    if (choice?.finish_reason) turn.end = choice.finish_reason;
    if (data.timings) {
      clock.count = data.timings.predicted_n;
      clock.rate = data.timings.predicted_per_second;
    }
  }

  function busy(on) {
    fill(send, icon(on ? "stop" : "send"), h("span", { class: "unseen" }, on ? "Stop" : "Send"));
    send.title = on ? "Stop" : "Send";
    send.classList.toggle("main", !on);
  }

  $("#chat-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) stop();
    else submit(text.value);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!running) submit(text.value);
    }
  });
  text.addEventListener("input", () => { if (!talks.current.turns.length) code(); });
  $("#view-chat").addEventListener("keydown", (event) => { if (event.key === "Escape") stop(); });
  busy(false);
  open();
  return {
    changed() {
      if (model()?.meta.n_ctx) parameters.bound("max_tokens", model().meta.n_ctx);
      code();
    },
  };
}

function stats({ began, first, count, rate }) {
  if (!first) return "";
  const parts = [`first token after ${seconds(first - began)}`];
  if (count) parts.push(`${count} ${count === 1 ? "token" : "tokens"}`);
  if (rate) parts.push(`${rate.toFixed(1)} tokens/s`);
  return parts.join(" · ");
}

export function seconds(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

// Draws once a frame at most, however fast tokens come.
export function painter(draw) {
  let frame = 0;
  const paint = () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); };
  paint.cancel = () => { cancelAnimationFrame(frame); frame = 0; };
  return paint;
}
