// --- two pinned rows stand above the others, with their difference ---
const pinned = document.createElement("tbody");
pinned.id = "pinned";
const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + tenths(Math.abs(value));

// Of values without a paired test: both intervals are put together as of independent samples (Zou and Donner 2008).
const apart = ([a, low, high], [b, lowest, highest]) => low < 0 || lowest < 0 ? null
  : [a - b - Math.hypot(a - low, highest - b), a - b + Math.hypot(high - a, b - lowest)];

const differenceCell = (first, second, task) => {
  const cell = document.createElement("td");
  const [one, other] = [first.cells[task], second.cells[task]];
  if (!one || !other) {
    cell.textContent = "–";
    return cell;
  }
  const pairs = data.pairs[`${first.key} ${second.key}`]?.[task];
  const turned = data.pairs[`${second.key} ${first.key}`]?.[task];
  const paired = pairs ?? (turned && [-turned[1], -turned[0], turned[2]]);
  const bounds = paired ?? apart(one, other);
  const value = 100 * (one[0] - other[0]);
  const sure = paired ? paired[2] < 0.05 : bounds && (bounds[0] > 0 || bounds[1] < 0);
  const lines = [signed(value) + ((one[3] | other[3]) & PARTIAL ? "*" : "")];
  if (bounds) lines.push(`${signed(100 * bounds[0])} to ${signed(100 * bounds[1])}`);
  if (paired) lines.push(`p ${paired[2] < 0.001 ? "< 0.001" : paired[2].toFixed(3)}`);
  lines.forEach((line, number) => {
    const part = document.createElement(number ? "small" : sure ? "strong" : "span");
    part.textContent = line;
    cell.append(part);
  });
  cell.className = !sure ? "" : value > 0 ? "ahead" : "behind";
  cell.title = `${first.model} minus ${second.model} on ${task}, in points`;
  return cell;
};
const meanDifference = (first, second, names) => {
  const shared = names.filter((task) => first.cells[task] && second.cells[task]);
  const cell = document.createElement("td");
  const sum = shared.reduce((total, task) => total + first.cells[task][0] - second.cells[task][0], 0);
  const mark = shared.some((task) => (first.cells[task][3] | second.cells[task][3]) & PARTIAL) ? "*" : "";
  cell.textContent = shared.length ? signed(100 * sum / shared.length) + mark + (shared.length < names.length ? ` (${shared.length}/${names.length})` : "") : "–";
  return cell;
};
const differenceRow = (first, second) => {
  const line = document.createElement("tr");
  line.id = "difference";
  const names = shownTasks();
  headings.forEach(({ dataset: { kind, key } }) => {
    if (kind === "model") {
      const heading = document.createElement("th");
      heading.scope = "row";
      heading.textContent = "first minus second";
      line.append(heading);
    } else if (kind === "task") line.append(differenceCell(first, second, key));
    else if (kind === "average") line.append(meanDifference(first, second, names));
    else if (kind === "group") line.append(meanDifference(first, second, names.filter((task) => groupOf[task] === key)));
    else line.append(document.createElement("td"));
  });
  return line;
};
const showPins = () => {
  const chosen = state.pin.map((key) => rows.find((row) => row.key === key)).filter(Boolean);
  rows.forEach((row) => { row.box.checked = chosen.includes(row); });
  pinned.replaceChildren(...chosen.map((row) => row.element));
  if (chosen.length === 2) pinned.append(differenceRow(...chosen));
  const note = byId("pairing");
  note.hidden = chosen.length === 0;
  if (chosen.length === 1) note.textContent = `${chosen[0].model} is pinned; choose a second row to see their difference.`;
  if (chosen.length === 2) {
    const names = shownTasks().filter((task) => chosen.every((row) => row.cells[task]));
    const keys = chosen.map((row) => row.key);
    const tested = names.filter((task) => [keys, [...keys].reverse()].some((pair) => data.pairs[pair.join(" ")]?.[task]));
    note.textContent = `First minus second, in points. ${tested.length ? `With p, on ${plural(tested.length, "task")}: a paired test on the same samples, interval at 95 %, p by Holm's correction over the tasks that both have. ` : ""}`
      + `${tested.length < names.length ? "Without p: the interval puts the 99.5 % intervals of both together as if they were of different samples, so it is too wide rather than too narrow. " : ""}Bold: more than chance.`;
  }
};
rows.forEach((row) => {
  row.box = Object.assign(document.createElement("input"), { type: "checkbox", className: "pin", title: "Pin this row, to compare two",
    ariaLabel: `Pin ${row.model}, ${row.protocol}, ${row.origin}` });
  row.element.cells[0].prepend(row.box);
  row.box.addEventListener("change", () => {
    const others = state.pin.filter((key) => key !== row.key);
    change({ pin: row.box.checked ? [...others, row.key].slice(-2) : others });
    show();
    row.box.focus();
  });
});
