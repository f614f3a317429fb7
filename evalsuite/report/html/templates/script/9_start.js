// --- put what the address says on the page, now and whenever it changes ---
function show() {
  standings();
  writeStandings();
  showPins();
  showOrder();
  showFilter();
  showColumns();
}
const showAll = () => {
  showTheme();
  if (table) show();
  showTasks();
};

if (table) {
  body.before(pinned);
  const filtered = (changed) => () => {
    change(changed());
    showFilter();
  };
  search.addEventListener("input", filtered(() => ({ q: search.value })));
  for (const name of ["protocol", "origin"]) byId(name).addEventListener("change", filtered(() => ({ [name]: byId(name).value })));
  byId("clear").addEventListener("click", filtered(() => ({ q: "", protocol: "", origin: "" })));
  sortChoice.addEventListener("change", () => {
    change({ sort: sortChoice.value });
    showOrder();
  });
  // Who has no pointer to rest on a score touches it.
  table.addEventListener("click", ({ target }) => {
    const cell = target.closest("td[title]");
    const row = cell && rows.find((one) => one.element === cell.parentElement);
    if (!row) return;
    const { key } = headings[cell.cellIndex].dataset;
    const link = (href, text) => Object.assign(document.createElement("a"), { href, textContent: text });
    const samples = cell.querySelector("a");
    const place = byId("told");
    place.replaceChildren(`${row.model} (${row.protocol}, ${row.origin}) on ${key}: ${cell.textContent.trim()}, ${cell.title}. `, link(`#task-${key}`, `About ${key}`));
    if (samples) place.append(" · ", link(samples.getAttribute("href"), "Its samples"));
    place.hidden = false;
  });
  byId("controls").hidden = false;
}
addEventListener("hashchange", () => {
  if (readAddress()) showAll(); else showTasks();
  writeAddress();
});
readAddress();
showAll();
