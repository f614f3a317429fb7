// --- on paper the columns stand in blocks, each with the names of its rows: a sheet is narrower than the table ---
const COLUMNS_ON_PAPER = 11;
const paper = Object.assign(document.createElement("div"), { id: "paper" });

const block = (columns, chosen, number, of) => {
  const made = document.createElement("table");
  made.createCaption().textContent = of > 1 ? `Leaderboard, part ${number} of ${of}` : "Leaderboard";
  const head = made.createTHead().insertRow();
  for (const heading of [headings[0], ...columns]) {
    const cell = Object.assign(document.createElement("th"), { scope: "col", textContent: heading.textContent.trim() });
    if (kindOf(heading) === "group") cell.textContent = `${heading.dataset.key}: average`;
    head.append(cell);
  }
  const rest = made.createTBody();
  for (const line of chosen) {
    const copy = rest.insertRow();
    copy.className = line.className;
    for (const heading of [headings[0], ...columns]) copy.append(line.cells[heading.cellIndex].cloneNode(true));
  }
  all("input", made).forEach((box) => box.remove());
  return made;
};
const toPaper = () => {
  const columns = shownColumns();
  const blocks = Math.max(1, Math.ceil(columns.length / COLUMNS_ON_PAPER));
  const size = Math.ceil(columns.length / blocks);
  const lines = all("#board tbody tr").filter((line) => !line.hidden);
  paper.replaceChildren(...Array.from({ length: blocks }, (_, number) =>
    block(columns.slice(number * size, (number + 1) * size), lines, number + 1, blocks)));
  table.closest(".scroll").after(paper);
};
if (table) {
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", () => paper.remove());
}
