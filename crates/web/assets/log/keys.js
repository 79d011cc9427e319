// The log page, 4 of 4: buttons, keys, copying. Every key has a button or a line in the dialog that
// `?` shows.
"use strict";

const KEYS = [
  ["j, ↓ / k, ↑", "a line down / up"],
  ["Space, PgDn / PgUp", "a screen down / up"],
  ["g, Home / G, End", "to the beginning / the end"],
  ["f", "follow the end"],
  [":", "go to a line, or to lines: 120-140"],
  ["/", "search"],
  ["n / p, N", "next / previous hit, or error"],
  ["e / E", "next / previous error or warning"],
  ["x", "only lines with hits"],
  ["o", "open or close the group at the top, or around the line that is pointed at"],
  ["O", "open or close all groups"],
  ["t", "times: since start, clock, since the line above, none"],
  ["w", "wrap long lines"],
  ["z", "full width"],
  ["u", "show lines that were drawn over"],
  ["c / m / l", "copy the lines as text / as Markdown / the link to them"],
  ["r", "the raw log"],
  ["Esc", "leave the search, the lines, the dialog"],
  ["?", "these keys"],
];

const button = (id) => document.getElementById(id);

/* ---- What the buttons do --------------------------------------------------------------------- */

const acts = {
  follow() { followEnd(!view.following); },
  times() {
    times = TIMES[(TIMES.indexOf(times) + 1) % TIMES.length];
    remembered("windlass-times", times);
    showTimes();
    say(`Times: ${TIME_WORDS[times]}`);
    draw();
  },
  wrap() { toggle("nowrap", "wrap", "windlass-nowrap", false); },
  wide() { toggle("wide", "wide", "windlass-wide", true); },
  raw() {
    view.raw = !view.raw;
    store.pages.clear();
    view.elements.clear();
    say(view.raw ? "All lines as they were printed" : "Lines as on a terminal");
    draw();
  },
  filter() {
    if (!search.hits.length) return;
    setFilter(!view.filter);
    say(view.filter ? `${view.filter.length} lines with hits and around them` : "All lines");
    draw();
  },
  foldall() {
    const close = !folds.closed.length;
    folds.chooseAll(close);
    view.elements.clear();
    say(close ? "Groups closed" : "Groups opened");
    draw();
  },
  fold() {
    const n = view.picked?.[0] ?? view.top;
    const inside = folds.all.filter((fold) => fold.first <= n && n <= fold.last).at(-1);
    if (inside) foldAt(inside.first);
  },
  "problem-next"() { toProblem(false); },
  "problem-previous"() { toProblem(true); },
  "hit-next"() { toHit(false); },
  "hit-previous"() { toHit(true); },
  copy() { copyLines("text"); },
  markdown() { copyLines("markdown"); },
  link() {
    const [first, last] = view.picked ?? [view.top, view.top];
    const url = new URL(location.href);
    url.hash = first === last ? `L${first}` : `L${first}-L${last}`;
    // Also for those without a script.
    url.search = `?attempt=${new URLSearchParams(log.dataset.raw.split("?")[1]).get("attempt")}&lines=${first}-${last}`;
    copyText(url.href, "Link copied");
  },
  unpick() { history.replaceState(null, "", location.pathname + location.search); pointAt(false); },
  keys() { showKeys(); },
};

function toggle(className, id, key, pressed) {
  const on = document.body.classList.toggle(className);
  button(id).setAttribute("aria-pressed", String(on === pressed));
  remembered(key, on ? "1" : "");
  view.elements.clear();
  draw();
}

function showTimes() {
  document.body.classList.toggle("no-times", times === "off");
  button("times").textContent = `times: ${TIME_WORDS[times]}`;
}

function foldAt(first) {
  const fold = folds.byFirst.get(first);
  if (!fold) return;
  folds.choose(first, !fold.isClosed);
  view.elements.clear();
  say(fold.isClosed ? "Group closed" : "Group opened");
  drawNow();
  view.elements.get(first)?.el.querySelector(".fold")?.focus({ preventScroll: true });
}

/* Where "next" counts from. */
function here() {
  const bottom = view.items.at(-1) ?? view.top;
  return lastGone >= view.top && lastGone <= bottom ? lastGone : view.top;
}

function toLine(n, words) {
  goTo(n);
  const text = store.row(n) ? view.elements.get(n)?.el.querySelector(".x")?.textContent ?? "" : "";
  say(`${words}line ${n}: ${text.slice(0, 300)}`);
}

function toProblem(back) {
  const from = here();
  const list = problems.all;
  if (!list.length) { say("No errors were found"); return; }
  const next = back ? list.findLast((p) => p.line < from) ?? list.at(-1) : list.find((p) => p.line > from) ?? list[0];
  search.now = 0;
  toLine(next.line, next.severity === "error" ? "Error, " : "Warning, ");
}

async function toHit(back) {
  const line = await search.next(search.now || here(), back);
  if (!line) return;
  search.now = line;
  toLine(line, "");
  showFound();
}

/* ---- Searching --------------------------------------------------------------------------------- */

function showFound() {
  const out = button("found");
  const many = search.count.toLocaleString("en");
  const lines = search.count === 1 ? "line" : "lines";
  let words = "";
  if (search.problem) words = search.problem;
  else if (search.isOn() && !search.whole) words = `${many} ${lines}, ${Math.round(search.progress * 100)} %`;
  else if (search.isOn() && !search.count) words = "no line matches";
  else if (search.isOn()) {
    const at = lowerBound(search.hits.map((hit) => hit.line), search.now);
    words = search.now && search.byLine.has(search.now) ? `${(at + 1).toLocaleString("en")} of ${many} ${lines}` : `${many} ${lines}`;
  }
  if (out.textContent !== words) out.textContent = words;
  out.classList.toggle("wrong", Boolean(search.problem));
  button("q").setAttribute("aria-invalid", String(Boolean(search.problem)));
  for (const id of ["hit-next", "hit-previous", "filter"]) button(id).hidden = !search.count;
}

function runSearch() {
  const words = button("q").value;
  if (words === search.words && button("case").checked === search.case && button("literal").checked === search.literal) return;
  setFilter(false);
  search.case = button("case").checked;
  search.literal = button("literal").checked;
  const from = view.top;
  let gone = false;
  // Marks in pages that were loaded for another search are stale; hits bring their own.
  const url = new URL(location.href);
  if (words) url.searchParams.set("q", words);
  else url.searchParams.delete("q");
  history.replaceState(null, "", url);
  search.run(words, () => {
    if (!gone && search.hits.length && (search.whole || search.hits.at(-1).line >= from)) {
      gone = true;
      const hit = search.hits.find((h) => h.line >= from) ?? search.hits[0];
      search.now = hit.line;
      goTo(hit.line);
    }
    if (search.whole && search.isOn()) say(search.problem || `${search.count} lines match`);
    showFound();
    draw();
  });
}

/* ---- Copying ----------------------------------------------------------------------------------- */

async function copyText(text, words) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure connection there is only the old way.
    const area = element("textarea", "hidden");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    log.focus({ preventScroll: true });
  }
  say(words);
  const note = button("copied");
  note.textContent = words;
  note.hidden = false;
  clearTimeout(copyText.timer);
  copyText.timer = setTimeout(() => { note.hidden = true; }, 2000);
}

async function copyLines(kind) {
  const chosen = view.picked ?? [view.top, view.items.at(-1)];
  const [first, last] = chosen;
  const answer = await fetch(`${log.dataset.raw}&strip=ansi&lines=${first}-${last}`);
  if (!answer.ok) { say("The lines could not be read"); return; }
  const text = await answer.text();
  const words = first === last ? `Line ${first} copied` : `Lines ${first}–${last} copied`;
  if (kind === "text") { copyText(text, words); return; }
  // A fence that the text does not hold.
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((ticks) => ticks.length));
  const fence = "`".repeat(longest + 1);
  const url = new URL(location.href);
  url.hash = first === last ? `L${first}` : `L${first}-L${last}`;
  const title = document.title.replace(/[\[\]]/g, "").replace(/ – Windlass$/, "");
  copyText(`${fence}\n${text.replace(/\n*$/, "\n")}${fence}\n[${title}, ${first === last ? `line ${first}` : `lines ${first}–${last}`}](${url.href})\n`, `${words} as Markdown`);
}

/* ---- Dialogs ------------------------------------------------------------------------------------- */

function showKeys() {
  const dialog = button("keys-dialog");
  const list = dialog.querySelector("dl");
  if (!list.children.length) {
    for (const [key, words] of KEYS) {
      const dt = element("dt");
      key.split(/( \/ |, )/).forEach((part, i) => dt.append(i % 2 ? part : element("kbd", "", part)));
      list.append(dt, element("dd", "", words));
    }
  }
  dialog.showModal();
}

function askLine() {
  const dialog = button("line-dialog");
  // Left with Escape it keeps the answer of the last time.
  dialog.returnValue = "";
  dialog.showModal();
  button("line").select();
}

/* ---- Keys ---------------------------------------------------------------------------------------- */

const pageful = () => Math.max(view.lineHeight, log.clientHeight - 2 * view.lineHeight);
const keyActs = {
  j: () => scrollBy(view.lineHeight), ArrowDown: () => scrollBy(view.lineHeight),
  k: () => scrollBy(-view.lineHeight), ArrowUp: () => scrollBy(-view.lineHeight),
  " ": () => scrollBy(pageful()), PageDown: () => scrollBy(pageful()),
  "S- ": () => scrollBy(-pageful()), PageUp: () => scrollBy(-pageful()),
  g: () => goTo(1, 0), Home: () => goTo(1, 0),
  G: () => toEnd(), End: () => toEnd(),
  f: acts.follow, t: acts.times, w: acts.wrap, z: acts.wide, u: acts.raw, x: acts.filter,
  o: acts.fold, O: acts.foldall, e: () => toProblem(false), E: () => toProblem(true),
  n: () => (search.isOn() && search.count ? toHit(false) : toProblem(false)),
  p: () => (search.isOn() && search.count ? toHit(true) : toProblem(true)),
  N: () => (search.isOn() && search.count ? toHit(true) : toProblem(true)),
  c: acts.copy, m: acts.markdown, l: acts.link, r: () => { location.href = log.dataset.raw; },
  "/": () => button("q").focus(), ":": askLine, "?": showKeys,
  Escape: () => {
    if (view.filter) acts.filter();
    else if (search.isOn()) { button("q").value = ""; runSearch(); }
    else if (view.picked) acts.unpick();
  },
};

function toEnd() {
  view.top = shownFor(store.total);
  view.offset = 0;
  if (log.dataset.stream) followEnd(true);
  drawNow();
  // Once more, when the last lines are here.
  draw();
}

function onKey(event) {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (event.key === "f" && (event.ctrlKey || event.metaKey) && event.target !== button("q")) {
    // The browser finds only what it has. A second time it is the browser's own search.
    event.preventDefault();
    button("q").select();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  // A focused button has its own keys.
  if ([" ", "Enter"].includes(event.key) && event.target.closest?.("button, a, summary")) return;
  const act = (event.key === " " && event.shiftKey && keyActs["S- "]) || keyActs[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

/* ---- The beginning --------------------------------------------------------------------------------- */

function startKeys() {
  for (const tool of document.querySelectorAll("[data-tool]")) tool.hidden = false;
  if (!log.dataset.stream) button("follow").hidden = true;
  document.addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act && acts[act]) acts[act]();
    const fold = event.target.closest("[data-fold]");
    if (fold) foldAt(Number(fold.dataset.fold));
  });
  log.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[id^=L]");
    if (!anchor) return;
    event.preventDefault();
    const [, from] = /^#L(\d+)/.exec(location.hash) ?? [];
    const range = event.shiftKey && from ? `#L${from}-${anchor.id}` : `#${anchor.id}`;
    history.replaceState(null, "", range);
    unfollow();
    pointAt(false);
  });
  addEventListener("hashchange", () => pointAt(true));
  document.addEventListener("keydown", onKey);

  const form = button("find");
  let typed = 0;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typed);
    if (button("q").value === search.words && search.count) toHit(false);
    else runSearch();
  });
  button("q").addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(runSearch, 300); });
  button("q").addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      log.focus({ preventScroll: true });
    } else if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      toHit(true);
    }
  });
  for (const id of ["case", "literal"]) button(id).addEventListener("change", runSearch);
  button("line-dialog").addEventListener("close", () => {
    const asked = button("line").value.split("-").map((n) => Math.min(Number(n), store.total));
    if (button("line-dialog").returnValue === "go" && asked.every((n) => n >= 1)) {
      history.replaceState(null, "", `#${asked.map((n) => `L${n}`).join("-")}`);
      pointAt(true);
    }
    log.focus({ preventScroll: true });
  });
  if (remembered("windlass-nowrap")) toggle("nowrap", "wrap", "windlass-nowrap", false);
  if (remembered("windlass-wide")) toggle("wide", "wide", "windlass-wide", true);
  showTimes();
  const asked = new URLSearchParams(location.search).get("q");
  if (asked) { button("q").value = asked; runSearch(); }
}

if (log) {
  startViewer();
  startKeys();
}
