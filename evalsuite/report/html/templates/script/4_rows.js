// --- order and filter of the rows ---
const search = byId("search");
const sortChoice = byId("sort");

// What a row is sorted by: first a tier (whole, with parts missing, without a value), which no direction turns round.
const placeOf = (row, { kind, key }) => {
  const means = { average: row.average, group: row.means[key] };
  if (kind in means) {
    const found = means[kind];
    return found ? [found.whole ? 0 : 1, found.value, found.over] : [2, 0, 0];
  }
  if (kind === "task") return row.cells[key] ? [row.cells[key][3] & PARTIAL ? 1 : 0, row.cells[key][0], 1] : [2, 0, 0];
  if (kind === "rank") return row.rank === undefined ? [2, 0, 0] : [0, row.rank, 1];
  if (kind === "wins") return [0, row.wins, 1];
  if (["model", "protocol", "origin"].includes(kind)) return [0, row[kind], 1];
  const value = Number.parseFloat(row.element.cells[column(kind, key)].textContent);
  return Number.isNaN(value) ? [2, 0, 0] : [0, value, 1];
};
const sorting = () => {
  const [, minus, kind, key] = state.sort.match(/^(-?)([^:]*):?(.*)$/s);
  const known = ["protocol", "origin"].includes(kind) || column(kind, key) >= 0;
  return known && kind ? { kind, key, sign: minus ? -1 : 1 } : { kind: "average", key: "", sign: -1 };
};
const sorted = () => {
  const by = sorting();
  const places = new Map(rows.map((row) => [row, placeOf(row, by)]));
  const compare = (one, other) => {
    const [a, b] = [places.get(one), places.get(other)];
    const values = typeof a[1] === "string" ? a[1].localeCompare(b[1]) : a[1] - b[1];
    return a[0] - b[0] || (a[0] === 1 && b[2] - a[2]) || by.sign * values || one.index - other.index;
  };
  return [...rows].sort(compare);
};
const showOrder = () => {
  const by = sorting();
  headings.forEach((heading) => {
    const own = kindOf(heading) === by.kind && heading.dataset.key === by.key;
    if (own && state.sort) heading.setAttribute("aria-sort", by.sign > 0 ? "ascending" : "descending");
    else heading.removeAttribute("aria-sort");
  });
  sortChoice.value = state.sort;
  if (sortChoice.selectedIndex < 0) sortChoice.value = "column";
  body.append(...sorted().filter((row) => !state.pin.includes(row.key)).map((row) => row.element));
};
headings.forEach((heading) => heading.querySelector("button").addEventListener("click", () => {
  const { kind, key } = heading.dataset;
  const name = key ? `${kind}:${key}` : kind;
  const lowFirst = ["model", "rank", "place"].includes(kind);
  const before = state.sort.replace(/^-/, "") === name ? state.sort.startsWith("-") : null;
  change({ sort: (before === null ? !lowFirst : !before) ? `-${name}` : name });
  showOrder();
}));

// Every spelling of a model counts: ViT-B/32, vit b-32 and clip/vit-b-32 are the same letters and digits.
const fitsSearch = (row) => {
  const words = state.q.toLowerCase().split(/\s+/).map((word) => word.replace(/[^\p{L}\p{N}]+/gu, "")).filter(Boolean);
  const whole = words.join("");
  return row.spelled.some((name) => name.includes(whole)) || words.every((word) => row.spelled.some((name) => name.includes(word)));
};
const showFilter = () => {
  search.value = state.q;
  byId("protocol").value = state.protocol;
  byId("origin").value = state.origin;
  let shown = 0;
  for (const row of rows) {
    const fits = fitsSearch(row) && (!state.protocol || row.protocol === state.protocol) && (!state.origin || row.origin === state.origin);
    row.shown = fits || state.pin.includes(row.key);
    row.element.hidden = !row.shown;
    shown += row.shown;
  }
  byId("count").textContent = `${shown} of ${plural(rows.length, "row")}`;
  byId("empty").hidden = shown > 0;
};
