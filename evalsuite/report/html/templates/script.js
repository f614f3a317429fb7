"use strict";
(() => {
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { theme.textContent = isDark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
  theme.hidden = false;
  nameTheme();

  const everything = document.getElementById("open-all");
  if (everything) {
    const tasks = [...document.querySelectorAll("details.task")];
    const areOpen = () => tasks.every((task) => task.open);
    const nameAction = () => { everything.textContent = areOpen() ? "Close all tasks" : "Open all tasks"; };
    everything.addEventListener("click", () => {
      const open = !areOpen();
      tasks.forEach((task) => { task.open = open; });
    });
    tasks.forEach((task) => task.addEventListener("toggle", nameAction));
    everything.hidden = false;
    nameAction();
  }

  const table = document.getElementById("board");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[1].cells];
  const labels = 3;

  // --- sort: a missing value comes last whichever way; equal ones keep the order of the leaderboard ---
  const value = (row, column) => {
    const text = row.cells[column].textContent.trim();
    return column < labels ? text : Number.parseFloat(text);
  };
  const compare = (column, sign) => (one, other) => {
    const [a, b] = [value(one, column), value(other, column)];
    if (column < labels) return sign * a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  };
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const lowFirst = column < labels || heading.textContent.trim() === "rank";
      const before = heading.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : lowFirst;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      body.append(...[...rows].sort(compare(column, ascending ? 1 : -1)));
    });
  });

  // --- filter rows, hide groups of columns ---
  const controls = document.getElementById("controls");
  const search = document.getElementById("search");
  const selects = [...controls.querySelectorAll("select")];
  const count = document.getElementById("count");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const model = row.cells[0].textContent.toLowerCase();
      const fits = words.every((word) => model.includes(word))
        && selects.every((select) => !select.value || row.cells[Number(select.dataset.column)].textContent === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  };
  const hideColumns = (box) => {
    const [first, last] = [Number(box.dataset.first), Number(box.dataset.last)];
    for (const row of [table.tHead.rows[1], ...rows]) {
      for (let column = first; column <= last; column += 1) row.cells[column].hidden = !box.checked;
    }
    document.getElementById(box.dataset.heading).hidden = !box.checked;
  };
  search.addEventListener("input", filter);
  selects.forEach((select) => select.addEventListener("change", filter));
  controls.querySelectorAll("input[type=checkbox]").forEach((box) => box.addEventListener("change", () => hideColumns(box)));
  controls.hidden = false;
  filter();
})();
