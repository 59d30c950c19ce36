// The colour scheme, set before anything is drawn: what was chosen here, else what the system says.
{
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    let chosen = "auto";
    try { chosen = localStorage.getItem("velesio.theme") ?? "auto"; } catch { /* storage is off */ }
    const dark = chosen === "dark" || (chosen !== "light" && system.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    document.documentElement.dataset.chosen = chosen;
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("velesio:theme", apply);
}
