// --- what is shown, for a spreadsheet or a text ---
const shownRows = () => all("#board tbody tr").map((element) => rows.find((row) => row.element === element)).filter((row) => row?.shown);
const shownColumns = () => headings.filter((heading) => !heading.hidden && kindOf(heading) !== "model");
const nameOf = ({ dataset: { kind, key } }) => ({ task: key, group: `tag:${key}`, difference: `vs ${key}`, parameters: "parameters_millions", gflops: "gflops" }[kind] ?? kind);

// As `evalsuite leaderboard` writes it: percent with two decimals, nothing where there is no value, no formulas.
const toCsv = () => {
  const quoted = (text) => {
    const safe = /^\s*[=+\-@]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const number = (row, heading) => {
    const { kind, key } = heading.dataset;
    const found = { average: row.average, group: row.means[key] }[kind];
    if (found) return (100 * found.value).toFixed(2);
    if (kind === "task") return row.cells[key] ? (100 * row.cells[key][0]).toFixed(2) : "";
    const text = row.element.cells[heading.cellIndex].textContent;
    return text === "–" ? "" : text.replace("−", "-").replace(/[*\s].*$/, "");
  };
  const columns = shownColumns();
  const header = ["model", "protocol", "origin", ...columns.map(nameOf), "average_over", "partial"].map(quoted);
  const lines = shownRows().map((row) => [...[row.model, row.protocol, row.origin].map(quoted), ...columns.map((heading) => number(row, heading)),
    row.average?.over ?? 0, quoted(shownTasks().filter((task) => row.cells[task] && row.cells[task][3] & PARTIAL).join(" "))]);
  return [header, ...lines].map((line) => line.join(",")).join("\n") + "\n";
};
const toMarkdown = () => {
  const safe = (text) => text.replace(/[\\|`]/g, "\\$&").replace(/<(?=[a-z/!?])/gi, "\\<");
  const columns = shownColumns();
  const cell = (row, heading) => {
    const found = row.element.cells[heading.cellIndex];
    return found.querySelector("strong") ? `**${found.textContent.trim()}**` : found.textContent.trim();
  };
  const lines = [["model", "protocol", "origin", ...columns.map(nameOf)].map(safe), ["---", "---", "---", ...columns.map(() => "---:")],
    ...shownRows().map((row) => [...[row.model, row.protocol, row.origin].map(safe), ...columns.map((heading) => cell(row, heading))])];
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n") + `\n\n${byId("over").textContent}\n`;
};
byId("csv")?.addEventListener("click", () => {
  const link = Object.assign(document.createElement("a"), { download: "leaderboard.csv", href: URL.createObjectURL(new Blob([toCsv()], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
  byId("done").textContent = `Saved ${plural(shownRows().length, "row")} as leaderboard.csv.`;
});
byId("markdown")?.addEventListener("click", async () => {
  const [text, said] = [toMarkdown(), `Copied ${plural(shownRows().length, "row")} as a Markdown table.`];
  const place = byId("text");
  place.value = text;
  try {
    await navigator.clipboard.writeText(text);
    place.hidden = true;
    byId("done").textContent = said;
  } catch {
    place.hidden = false;  // a browser that lets no page write: the text is there to be copied by hand
    place.select();
    byId("done").textContent = "Copy the marked text.";
  }
});
