// Error: where the server cannot answer now, this page looks for it and opens what was wanted when it can.

import "./frame.js";

if (Number(document.querySelector("[data-status]").dataset.status) >= 500) {
  const timer = setInterval(async () => {
    try {
      if (!(await fetch("/readyz")).ok) return;
    } catch {
      return;
    }
    clearInterval(timer);
    location.reload();
  }, 2000);
}
