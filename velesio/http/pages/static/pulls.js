// Pulls: files of models on their way to this machine.

import { ask, get, post } from "./api.js";
import { $, button, fill, h, say, toast } from "./dom.js";
import { bytes } from "./format.js";
import { Rows } from "./rows.js";
import { badge } from "./states.js";

const LOOK_EVERY = 700;

export function startPulls() {
  const rows = new Rows($("#pulls"), (pull) => pull.id, row);
  let timer = 0;

  async function look() {
    clearTimeout(timer);
    try {
      const { pulls } = await get("/admin/pulls");
      rows.set(pulls);
      if (pulls.some((pull) => !pull.ended)) timer = setTimeout(look, LOOK_EVERY);
    } catch { /* the list of models tells that the server is away */ }
  }

  function row(first) {
    const bar = h("span");
    const progress = h("div", { class: "progress", role: "progressbar", "aria-label": `Fetching ${first.file}`, "aria-valuemin": 0, "aria-valuemax": 100 }, bar);
    const words = h("span", { class: "quiet small wrap" });
    const state = h("span", { class: "row" });
    const stop = button("Stop", async () => {
      try {
        await ask("DELETE", `/admin/pulls/${first.id}`);
      } catch (error) {
        toast(error.message, "bad");
      }
      look();
    }, { kind: "little", "aria-label": `Stop fetching ${first.file}` });
    return {
      element: h("li", {}, h("span", {}, h("strong", { class: "wrap" }, first.file), " ", h("span", { class: "quiet small" }, `into ${first.folder}`)), state, words, progress),
      update(pull) {
        const part = pull.size ? pull.have / pull.size : 0;
        bar.style.transform = `scaleX(${pull.state === "done" ? 1 : part})`;
        progress.setAttribute("aria-valuenow", Math.round(part * 100));
        progress.hidden = pull.ended > 0;
        say(words, pull.reason || (pull.size ? `${bytes(pull.have)} of ${bytes(pull.size)}` : pull.state === "running" ? "asking for it" : ""));
        fill(state, badge(pull.state), pull.ended ? null : stop);
      },
    };
  }

  $("#pull-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("#pull-wrong").hidden = true;
    try {
      await post("/admin/pulls", { source: $("#source").value.trim(), folder: $("#folder").value });
      $("#source").value = "";
    } catch (error) {
      say($("#pull-wrong"), error.message);
      $("#pull-wrong").hidden = false;
    }
    look();
  });
  addEventListener("velesio:back", look);
  look();
}
