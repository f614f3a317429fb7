// --- the leaderboard: rows with their numbers; a number is [value, low, high, flags] in fractions, or 0 ---
const table = byId("board");
const [PARTIAL, BEST] = [1, 2];
const data = JSON.parse(byId("data")?.textContent ?? '{"tasks": [], "rows": [], "pairs": {}}');
const body = table?.tBodies[0];
const headings = table ? [...table.tHead.rows[1].cells] : [];
const kindOf = (heading) => heading.dataset.kind;
const rows = data.rows.map((row, index) => {
  const element = body.rows[index];
  const cells = Object.fromEntries(data.tasks.map((task, number) => [task, row.cells[number]]).filter(([, cell]) => cell));
  const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "");
  return { ...row, index, element, cells, spelled: row.names.map(plain), written: [...element.cells].map((cell) => cell.textContent) };
});
const column = (kind, key = "") => headings.findIndex((one) => kindOf(one) === kind && one.dataset.key === key);
const groupOf = {};
headings.forEach((heading) => {
  if (kindOf(heading) === "task") groupOf[heading.dataset.key] = headingGroup(heading);
});
function headingGroup(heading) {
  let left = heading.cellIndex;
  for (const group of table.tHead.rows[0].cells) {
    if (left < Number(group.dataset.columns)) return group.dataset.group;
    left -= Number(group.dataset.columns);
  }
  return "";
}
const shownTasks = () => data.tasks.filter((task) => !state.hide.includes(task));

// As Python rounds: an exact half, which of tenths is .25 or .75, to the even one.
const tenths = (value) => (((4 * value) % 4) === 1 ? value - 0.05 : value).toFixed(1);
const mean = (row, names) => {
  const cells = names.map((task) => row.cells[task]).filter(Boolean);
  if (!cells.length) return null;
  const value = cells.reduce((sum, cell) => sum + cell[0], 0) / cells.length;
  return { value, over: cells.length, whole: cells.length === names.length && !cells.some((cell) => cell[3] & PARTIAL), partial: cells.some((cell) => cell[3] & PARTIAL) };
};
const written = (found, of) => found
  ? tenths(100 * found.value) + (found.partial ? "*" : "") + (found.over < of ? ` (${found.over}/${of})` : "")
  : "–";

// Ranks are among the rows that have a whole value for each task shown; equal values share the mean of their ranks.
const ranksOver = (names) => {
  const whole = rows.filter((row) => row.average?.whole);
  const sums = new Map(whole.map((row) => [row, 0]));
  for (const task of names) {
    const values = whole.map((row) => row.cells[task][0]);
    for (const row of whole) {
      const own = row.cells[task][0];
      const above = values.filter((value) => value > own).length;
      const equal = values.filter((value) => value === own).length;
      sums.set(row, sums.get(row) + above + (equal + 1) / 2);
    }
  }
  return new Map([...sums].map(([row, sum]) => [row, sum / names.length]));
};

// What follows the columns that are shown: averages of all and of each group, ranks, wins.
const standings = () => {
  const names = shownTasks();
  rows.forEach((row) => { row.average = mean(row, names); });
  const ranks = ranksOver(names);
  for (const row of rows) {
    row.rank = ranks.get(row);
    row.wins = names.filter((task) => row.cells[task] && row.cells[task][3] & BEST).length;
    row.means = Object.fromEntries(headings.filter((one) => kindOf(one) === "group").map(({ dataset: { key } }) =>
      [key, mean(row, names.filter((task) => groupOf[task] === key))]));
    row.element.classList.toggle("part", !row.average?.whole);
  }
};
const writeStandings = () => {
  const names = shownTasks();
  const everything = names.length === data.tasks.length;
  headings.forEach((heading, place) => {
    const { kind, key } = heading.dataset;
    if (!["average", "place", "rank", "wins", "group"].includes(kind)) return;
    const of = kind === "group" ? names.filter((task) => groupOf[task] === key).length : names.length;
    for (const row of rows) {
      const text = { average: () => written(row.average, of), group: () => written(row.means[key], of), wins: () => String(row.wins),
        place: () => "–",
        rank: () => row.rank === undefined ? "–" : tenths(row.rank) }[kind]();
      row.element.cells[place].textContent = everything ? row.written[place] : text;
    }
  });
  byId("over").textContent = everything
    ? `Averages, ranks and wins are over ${names.length > 1 ? "all " : ""}${plural(names.length, "task")} of the page.`
    : `Averages, ranks and wins are over the ${plural(names.length, "task")} shown, not over all ${data.tasks.length}; places are known for all of them only.`;
};
