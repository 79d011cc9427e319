// Windlass's only script. Pages are whole without it; it moves what can move:
//  1. the parts of a page that are marked `data-live` follow the server's events;
//  2. a running step's log grows (and is read aloud, scrolled and cut with restraint);
//  3. lines and ranges of lines can be pointed at: #L10, #L10-L20 (shift-click).
// Server-sent events do the reconnecting; the server's ids make that exact.
"use strict";

const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/* Opens an event stream while the page is visible: browsers allow six connections to one server,
   and forgotten tabs must not use them up. `url(lastId)` says where to go on. */
function follow(url, handlers) {
  let source = null;
  let lastId = "";
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(url(lastId));
    for (const [name, handle] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => {
        if (event.lastEventId) lastId = event.lastEventId;
        handle(JSON.parse(event.data));
      });
    }
  };
  const close = () => { source?.close(); source = null; };
  const onVisible = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", onVisible);
  // A page that is left must free its connection, also if the browser keeps it for "back".
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return () => { document.removeEventListener("visibilitychange", onVisible); removeEventListener("pageshow", open); close(); };
}

/* ---- 1. Live parts of pages -------------------------------------------------------------- */

let refreshing = null;
/* Loads this page again and takes over the parts marked `data-live`, the title and the icon. */
async function refresh() {
  if (refreshing) { refreshing = "again"; return; }
  refreshing = "now";
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok && !answer.redirected) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of all("[data-live]")) {
        const next = fresh.getElementById(part.id);
        // Never under somebody's keyboard: a focused button would vanish.
        if (!next || part.contains(document.activeElement) || part.innerHTML === next.innerHTML) continue;
        part.innerHTML = next.innerHTML;
      }
      document.title = fresh.title;
      const icon = fresh.getElementById("icon");
      if (icon) $("#icon").href = icon.getAttribute("href");
    }
  } catch { /* The server is away; the next event, or the next visit, tries again. */ }
  const again = refreshing === "again";
  setTimeout(() => { refreshing = null; if (again) refresh(); }, 1000);
}

const events = $("main").dataset.events;
if (events) {
  let first = true;
  // The first message tells what the page was made with, or what happened while it was loading.
  follow(() => events, { states: () => { if (!first || events.includes("/builds/")) refresh(); first = false; } });
}

/* Clocks of what is running. */
const seconds = (n) => n < 60 ? `${n} s` : n < 3600 ? `${Math.floor(n / 60)} min ${n % 60} s`
  : `${Math.floor(n / 3600)} h ${Math.floor(n % 3600 / 60)} min`;
setInterval(() => {
  for (const clock of all("[data-tick]")) {
    const since = Number(clock.dataset.tick);
    if (since > 0) clock.textContent = seconds(Math.max(0, Math.floor((Date.now() - since) / 1000)));
  }
}, 1000);

/* ---- 2. The log --------------------------------------------------------------------------- */

const log = $("#log");
const MOST_ROWS = 5000;

function remembered(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch { /* Storage may be forbidden; then nothing is remembered. */ }
  return null;
}

let absolute = remembered("windlass-times") === "clock";
const two = (n, width = 2) => String(n).padStart(width, "0");

/* What stands beside a line: how long after the step's start, or the clock where the reader is. */
function timeText(us) {
  if (absolute) {
    const d = new Date(us / 1000);
    return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  }
  const ms = Math.max(0, Math.floor((us - Number(log.dataset.start)) / 1000));
  const [h, m, s] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60, Math.floor(ms / 1000) % 60];
  const tail = `.${two(ms % 1000, 3)}`;
  return h ? `${h}:${two(m)}:${two(s)}${tail}` : m ? `${m}:${two(s)}${tail}` : `${s}${tail}`;
}

/* One line. The HTML comes from the server's renderer, which lets nothing through but colours
   and links; see crates/logs/src/render.rs. */
function rowElement(row) {
  const div = document.createElement("div");
  div.className = `r${row.continues ? " more" : ""}${row.partial ? " partial" : ""}`;
  const anchor = document.createElement("a");
  anchor.id = `L${row.n}`;
  anchor.href = `#L${row.n}`;
  anchor.textContent = row.n;
  const time = document.createElement("span");
  time.className = "t";
  time.dataset.t = row.t;
  time.textContent = timeText(row.t);
  const text = document.createElement("span");
  text.className = "x";
  text.innerHTML = row.html;
  if (row.cut) {
    const more = document.createElement("a");
    more.className = "cut";
    more.href = `${log.dataset.raw}&lines=${row.n}-${row.n}`;
    more.textContent = `… ${row.cut} more bytes`;
    text.append(more);
  }
  div.append(anchor, time, text);
  return div;
}

const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

/* Keeps the page usable: drops the oldest lines, and says so. */
function dropOldRows() {
  const rows = log.getElementsByClassName("r");
  const excess = rows.length - MOST_ROWS;
  if (excess <= 0) return;
  const first = Number(rows[excess].firstChild.textContent);
  for (const old of all(".r, .note", log)) {
    if (rows.length <= MOST_ROWS && old.matches(".r")) break;
    old.remove();
  }
  const note = document.createElement("div");
  note.className = "note dropped";
  const link = document.createElement("a");
  link.href = log.dataset.from.replace(/from=\d+/, `from=${Math.max(1, first - 1000)}`);
  link.textContent = "show them";
  note.append(`The lines before ${first} are no longer on this page: `, link, ".");
  log.prepend(note);
}

function takeRows({ rows }) {
  const stay = isAtEnd();
  for (const row of rows) {
    const old = document.getElementById(`L${row.n}`);
    if (old) old.parentNode.replaceWith(rowElement(row));
    else log.append(rowElement(row));
  }
  dropOldRows();
  const shown = log.getElementsByClassName("r");
  const number = (row) => Number(row.firstChild.textContent).toLocaleString("en");
  if (shown.length) $("#span").textContent = `lines ${number(shown[0])}–${number(shown[shown.length - 1])}`;
  highlight(false);
  if (stay) toEnd();
}

function takeNote(note) {
  if (document.getElementById(`note-${note.k}`)) return;
  const stay = isAtEnd();
  const div = document.createElement("div");
  div.id = `note-${note.k}`;
  div.className = note.loss ? "note loss" : "note";
  div.textContent = `${note.loss ? "⚠" : "•"} ${note.text}`;
  const next = document.getElementById(`L${note.after + 1}`);
  if (next) next.parentNode.before(div);
  else log.append(div);
  if (stay) toEnd();
}

function takeEnd({ state, outcome, duration }) {
  // The words, the icon and the links to other steps come from the page itself, once it knows.
  const badge = $("#state");
  const sign = { passed: "✓", failed: "✕", error: "!", cancelled: "⊘", skipped: "–" }[state] ?? "○";
  const word = document.createElement("span");
  word.className = `state s-${state}`;
  const icon = document.createElement("span");
  icon.className = "icon";
  icon.setAttribute("aria-hidden", "true");
  icon.textContent = sign;
  word.append(icon, ` ${outcome}`);
  badge.replaceChildren(word, ` ${duration}`);
  const stay = isAtEnd();
  $("#live").replaceChildren(word.cloneNode(true), ` ${duration}`);
  if (["failed", "error", "cancelled"].includes(state)) {
    $("#failure").textContent = `Step “${$("h1").lastChild.textContent.trim()}”: ${outcome}`;
    $("#failure").hidden = false;
  }
  if (stay) toEnd();
  setTimeout(refresh, 500);
}

if (log?.dataset.stream) {
  if (!location.hash) toEnd();
  const from = (id) => log.dataset.stream.replace(/from=\d+/, `from=${id}`);
  const stop = follow((id) => (id ? from(id) : log.dataset.stream), {
    rows: takeRows,
    note: takeNote,
    end: (data) => { stop(); takeEnd(data); },
  });
}

if (log) {
  const times = $("#times");
  const wrap = $("#wrap");
  const showTimes = () => {
    times.textContent = absolute ? "times since start" : "clock times";
    for (const t of all(".t", log)) t.textContent = timeText(Number(t.dataset.t));
  };
  times.hidden = wrap.hidden = false;
  times.addEventListener("click", () => {
    absolute = !absolute;
    remembered("windlass-times", absolute ? "clock" : "start");
    showTimes();
  });
  if (absolute) showTimes();
  wrap.addEventListener("click", () => {
    const off = log.classList.toggle("nowrap");
    wrap.setAttribute("aria-pressed", String(!off));
  });
}

/* ---- 3. Pointing at lines ----------------------------------------------------------------- */

function highlight(scroll) {
  if (!log) return;
  for (const row of all(".hit", log)) row.classList.remove("hit");
  const [, from, to] = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash) ?? [];
  if (!from) return;
  const [first, last] = [Number(from), Number(to ?? from)].sort((a, b) => a - b);
  let top = null;
  for (let n = first; n <= Math.min(last, first + MOST_ROWS); n++) {
    const row = document.getElementById(`L${n}`)?.parentNode;
    row?.classList.add("hit");
    top ??= row;
  }
  if (top) {
    if (scroll) top.scrollIntoView({ block: "center" });
  } else if (scroll && !location.search.includes("from=")) {
    // The line is on another part of the log.
    location.replace(log.dataset.from.replace(/from=\d+/, `from=${Math.max(1, first - 100)}`) + location.hash);
  }
}

if (log) {
  log.addEventListener("click", (event) => {
    const anchor = event.target.closest("a[id^=L]");
    const [, from] = /^#L(\d+)/.exec(location.hash) ?? [];
    if (!anchor || !event.shiftKey || !from) return;
    event.preventDefault();
    history.replaceState(null, "", `#L${from}-${anchor.id}`);
    highlight(false);
  });
  addEventListener("hashchange", () => highlight(false));
  highlight(true);
}
