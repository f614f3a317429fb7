// --- the choice of columns: a group has its average only while two of its tasks are shown ---
const boxes = all("#columns input[data-task]");
const groupBoxes = all("#columns input[data-group]");

const showColumns = () => {
  const hidden = new Set(state.hide);
  boxes.forEach((box) => { box.checked = !hidden.has(box.dataset.task); });
  const shownOf = (group) => data.tasks.filter((task) => groupOf[task] === group && !hidden.has(task)).length;
  groupBoxes.forEach((box) => {
    const [shown, of] = [shownOf(box.dataset.group), data.tasks.filter((task) => groupOf[task] === box.dataset.group).length];
    box.checked = shown > 0;
    box.indeterminate = shown > 0 && shown < of;
  });
  byId("chosen").textContent = `${shownTasks().length} of ${plural(data.tasks.length, "task")} shown.`;
  headings.forEach((heading, place) => {
    const { kind, key } = heading.dataset;
    const gone = kind === "task" ? hidden.has(key) : kind === "group" && shownOf(key) < 2;
    heading.hidden = gone;
    all(":scope > tr", body).concat(all("#pinned > tr")).forEach((row) => { row.cells[place].hidden = gone; });
  });
  let first = 1;
  for (const group of [...table.tHead.rows[0].cells].slice(1)) {
    const own = headings.slice(first, first + Number(group.dataset.columns));
    const shown = own.filter((heading) => !heading.hidden);
    own.forEach((heading) => heading.classList.toggle("first", heading === shown[0]));
    group.hidden = shown.length === 0;
    group.colSpan = Math.max(1, shown.length);
    first += own.length;
  }
};
const chooseColumns = (hide) => {
  change({ hide: data.tasks.filter((task) => hide.has(task)) });
  show();
};
boxes.forEach((box) => box.addEventListener("change", () =>
  chooseColumns(new Set(boxes.filter((one) => !one.checked).map((one) => one.dataset.task)))));
groupBoxes.forEach((box) => box.addEventListener("change", () => {
  const own = data.tasks.filter((task) => groupOf[task] === box.dataset.group);
  chooseColumns(new Set(box.checked ? state.hide.filter((task) => !own.includes(task)) : [...state.hide, ...own]));
}));
all("#columns button").forEach((button) => button.addEventListener("click", () =>
  chooseColumns(new Set(button.dataset.all ? [] : data.tasks))));
