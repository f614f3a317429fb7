// The state of the page stands in its address, behind the #: #tasks?q=vit&sort=-task:mnist is the anchor `tasks` and a state.
const root = document.documentElement;
const byId = (id) => document.getElementById(id);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
root.classList.add("scripted");

const state = { q: "", protocol: "", origin: "", sort: "", hide: [], pin: [], open: null, theme: "" };
let anchor = "";

// An address that was cut off in a mail may end within a letter, which no browser can read.
const decoded = (text) => { try { return decodeURIComponent(text); } catch { return ""; } };
const readAddress = () => {
  const [name, query] = location.hash.slice(1).split("?");
  anchor = decoded(name);
  if (query === undefined) return false;
  const given = new URLSearchParams(query);
  for (const key of ["q", "protocol", "origin", "sort", "theme"]) state[key] = given.get(key) ?? "";
  for (const key of ["hide", "pin"]) state[key] = given.get(key)?.split(",").filter(Boolean) ?? [];
  state.open = given.has("open") ? given.get("open").split(",").filter(Boolean) : null;
  return true;
};

const writeAddress = () => {
  const kept = new URLSearchParams();
  for (const key of ["q", "protocol", "origin", "sort", "theme"]) if (state[key]) kept.set(key, state[key]);
  for (const key of ["hide", "pin"]) if (state[key].length) kept.set(key, state[key].join(","));
  if (state.open) kept.set("open", state.open.join(","));
  const query = kept.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":");
  const hash = `${encodeURIComponent(anchor)}${query && `?${query}`}`;
  const address = location.href.split("#")[0] + (hash && `#${hash}`);
  if (address !== location.href) history.replaceState(null, "", address);
};

const change = (changed) => {
  Object.assign(state, changed);
  writeAddress();
};

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
