// Keys: who may use the server. What is secret is shown once and then forgotten.

import { keyed } from "./frame.js";
import { ask, get, post } from "./api.js";
import { $, $$, button, confirmed, copy, empty, fill, h, say, toast } from "./dom.js";
import { clock, day } from "./format.js";
import { Rows } from "./rows.js";
import { badge } from "./states.js";

const PATH = "/admin/keys";
const DAY = 86_400_000;
const dialog = $("#make");
const once = $("#once");
const rows = new Rows($("#keys"), (key) => key.id || key.name, row);

$("#new").append(button("New key", () => {
  $("#make-form").reset();
  $("#make-wrong").hidden = true;
  // The first key locks everybody out who has none: it has to be able to make others.
  $("[value=admin]").checked = !keyed;
  dialog.showModal();
}, { kind: "main", glyph: "plus" }));
$("#make-not").addEventListener("click", () => dialog.close());
$("#make-form").addEventListener("submit", make);

async function load() {
  try {
    const told = await get(PATH);
    rows.set(told.data, h("tr", {}, h("td", { colspan: 8 }, empty("key", "No keys yet", keyed ? "Those of the configuration are not listed here." : "This machine is served without one. Make the first for a program, a colleague or a game."))));
    $("#trouble").hidden = true;
  } catch (error) {
    fill($("#trouble"), h("p", { class: "note warn" }, error.message)).hidden = false;
    if (!rows.known.size) fill($("#keys"));
  }
}

async function make(event) {
  event.preventDefault();
  const days = Number($("#key-days").value);
  const body = {
    name: $("#key-name").value.trim(), tenant: $("#key-tenant").value.trim() || "default", scopes: $$("[name=scope]:checked").map((each) => each.value),
    models: $("#key-models").value.split(",").map((each) => each.trim()).filter(Boolean),
    ...(days ? { expires: new Date(Date.now() + days * DAY).toISOString() } : {}),
  };
  try {
    const made = await post(PATH, body);
    dialog.close();
    reveal(made, "Keep this key");
    load();
  } catch (error) {
    say($("#make-wrong"), error.message);
    $("#make-wrong").hidden = false;
  }
}

function reveal(made, title) {
  say($("#once-title"), title);
  say($("#secret"), made.key);
  const take = button("Copy", () => copy(made.key, take), { kind: "main", glyph: "copy" });
  fill($("#once-actions"), take, button("I have it", () => { forget(); once.close(); }));
  once.showModal();
}

// Not even the page keeps it: at once by the button; by Escape with the event, which comes a moment later.
function forget() {
  say($("#secret"), "");
  fill($("#once-actions"));
}
once.addEventListener("close", forget);

function row(first) {
  const [state, tenant, scopes, models, made, ends, actions] = ["", "", "", "", "", "", "actions"].map((kind) => h("td", { class: kind }));
  const rotate = button("Rotate", () => act(first, "rotate"), { kind: "little", "aria-label": `Rotate ${first.name}` });
  const revoke = button("Revoke", () => act(first, "revoke"), { kind: "little danger", "aria-label": `Revoke ${first.name}` });
  const element = h("tr", {}, h("th", { scope: "row" }, h("span", { class: "clip", title: first.name }, first.name), h("span", { class: "quiet small mono" }, first.id)), state, tenant, scopes, models, made, ends, actions);
  return {
    element,
    update(key) {
      const over = key.state !== "live";
      element.classList.toggle("over", over);
      fill(state, badge(key.state), key.earlier_secret_until ? h("div", { class: "quiet small" }, `earlier secret until ${clock(key.earlier_secret_until)}`) : null);
      fill(tenant, h("span", { class: "clip" }, key.tenant));
      fill(scopes, h("span", { class: "chips" }, key.scopes.map((each) => h("span", { class: `badge ${each === "admin" ? "accent" : ""}` }, each))));
      fill(models, h("span", { class: "clip mono" }, key.models.join(", ")));
      say(made, day(key.created));
      say(ends, key.expires ? clock(key.expires) : "never");
      fill(actions, over ? null : h("div", { class: "row end" }, rotate, revoke));
    },
  };
}

async function act(key, action) {
  const words = {
    rotate: [`Rotate ${key.name}?`, "It gets a new secret. The last one stays good for a while (access.grace, a day by default), so that programs can change over.", "Rotate it"],
    revoke: [`Revoke ${key.name}?`, "Whoever uses it is refused from now on. This cannot be taken back.", "Revoke it"],
  }[action];
  if (!await confirmed(...words)) return;
  try {
    if (action === "rotate") reveal(await post(`${PATH}/${encodeURIComponent(key.id)}/rotate`), "Keep the new secret");
    else {
      await ask("DELETE", `${PATH}/${encodeURIComponent(key.id)}`);
      toast(`${key.name} is revoked`);
    }
  } catch (error) {
    toast(error.message, "bad");
  }
  load();
}

addEventListener("velesio:back", load);
load();
