// Sign-in: the form works without scripts; this shows the key while it is typed, if that is wanted.

import "./frame.js";
import { $ } from "./dom.js";

const key = $("#key");
$("#show").addEventListener("change", (event) => { key.type = event.target.checked ? "text" : "password"; });
