// Frame: what every page has. The light that tells how the server is, the banner while it is gone, the colour scheme.

import { $, fill, icon, say } from "./dom.js";

export const admin = document.body.dataset.admin === "yes";
export const keyed = document.body.dataset.keyed === "yes";

const CALM = 10_000;
const state = $("#state");
const banner = $("#banner");
let online = true;
let timer = 0;
let wait = 500;

function show(kind, words) {
  $(".dot", state).className = `dot ${kind}`;
  say($(".words", state), words);
}

async function look() {
  clearTimeout(timer);
  let pause = CALM;
  try {
    const response = await fetch("/readyz", { headers: { Accept: "application/json" } });
    const told = await response.json();
    if (!online) back();
    if (response.ok) show("good", "Ready");
    else {
      show("warn", told.reasons?.[0] ?? "Not ready");
      pause = 1500;
    }
  } catch {
    lost();
    return;
  }
  if (!document.hidden) timer = setTimeout(look, pause);
}

function lost() {
  if (online) {
    online = false;
    wait = 500;
    banner.className = "banner";
    say(banner, "The server does not answer. This page goes on by itself when it is back.");
    banner.hidden = false;
  }
  show("bad", "Offline");
  clearTimeout(timer);
  timer = setTimeout(look, wait);
  wait = Math.min(wait * 1.5, 4000);
}

function back() {
  online = true;
  banner.className = "banner good";
  say(banner, "The server is back.");
  setTimeout(() => { if (online) banner.hidden = true; }, 2500);
  dispatchEvent(new Event("velesio:back"));
}

addEventListener("velesio:lost", lost);
addEventListener("velesio:signed-out", () => {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname)}`);
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

const theme = $("#theme");
const GLYPHS = { auto: "auto", light: "sun", dark: "moon" };
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "as the system has it", light: "light", dark: "dark" };

function showTheme() {
  const chosen = document.documentElement.dataset.chosen;
  fill(theme, icon(GLYPHS[chosen]), Object.assign(document.createElement("span"), { className: "unseen", textContent: `Colour scheme: ${WORDS[chosen]}` }));
}

theme.addEventListener("click", () => {
  try { localStorage.setItem("velesio.theme", NEXT[document.documentElement.dataset.chosen]); } catch { /* storage is off */ }
  dispatchEvent(new Event("velesio:theme"));
  showTheme();
});
showTheme();
// On a phone the navigation is wider than the screen.
$(".nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
look();
