// --- light or dark ---
const theme = byId("theme");
const isDark = () => (state.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const showTheme = () => {
  if (state.theme) root.dataset.theme = state.theme; else delete root.dataset.theme;
  theme.textContent = isDark() ? "Light colours" : "Dark colours";
};
theme.addEventListener("click", () => {
  change({ theme: isDark() ? "light" : "dark" });
  showTheme();
});
theme.hidden = false;

// --- the sections of tasks: an address that names one, or something inside of it, opens it ---
const tasks = all("details.task");
const openAtFirst = tasks.filter((task) => task.open);
const everything = byId("open-all");
const showTasks = () => {
  if (state.open) tasks.forEach((task) => { task.open = state.open.includes(task.id.slice(5)); });
  const target = anchor && byId(anchor);
  if (!target) return;
  for (let place = target; place; place = place.parentElement) if (place.matches("details")) place.open = true;
  target.scrollIntoView({ behavior: "instant" });
};
const nameAction = () => { everything.textContent = tasks.every((task) => task.open) ? "Close all tasks" : "Open all tasks"; };
tasks.forEach((task) => task.addEventListener("toggle", () => {
  const open = tasks.filter((one) => one.open);
  const asAtFirst = open.length === openAtFirst.length && open.every((one) => openAtFirst.includes(one));
  change({ open: asAtFirst ? null : open.map((one) => one.id.slice(5)) });
  nameAction();
}));
everything.addEventListener("click", () => {
  const open = !tasks.every((task) => task.open);
  tasks.forEach((task) => { task.open = open; });
});
everything.hidden = tasks.length === 0;
nameAction();
