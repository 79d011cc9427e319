// The log page, 1 of 4: the rows that the browser has, and what one looks like. Numbers are those of
// the log's rows, from 1, and never change. A number that lies in what was loaded and has no row
// was drawn over (a progress bar): it is not shown.
"use strict";

const log = document.getElementById("log");
const PAGE = 500;
const KEPT_PAGES = 40;

/* The rows, in pages of 500. A page covers the numbers `a` to `b`. */
const store = {
  pages: new Map(),
  total: Number(log?.dataset.total ?? 0),
  notes: new Map(), // k -> note
  notesAfter: new Map(), // number -> notes behind that row

  page: (n) => store.pages.get(Math.floor((n - 1) / PAGE)),
  knows(n) {
    const page = store.page(n);
    return Boolean(page && page.a <= n && n <= page.b);
  },
  row: (n) => store.page(n)?.rows.get(n),
  isGone: (n) => store.knows(n) && !store.row(n),

  /* What is known of `first`..`last` from now on; `rows` are in order. */
  put(first, last, rows) {
    for (let p = Math.floor((first - 1) / PAGE); p <= Math.floor((last - 1) / PAGE); p++) {
      const [from, to] = [Math.max(first, p * PAGE + 1), Math.min(last, (p + 1) * PAGE)];
      let page = store.pages.get(p);
      // What does not touch the known part replaces it: a page has no holes.
      if (!page || from > page.b + 1 || to < page.a - 1) {
        page = { a: from, b: to, rows: new Map() };
        store.pages.set(p, page);
      }
      for (let n = from; n <= to; n++) page.rows.delete(n);
      page.a = Math.min(page.a, from);
      page.b = Math.max(page.b, to);
    }
    for (const row of rows) store.page(row.n)?.rows.set(row.n, row);
  },

  /* Rows from `first` on are something else now. */
  cut(first) {
    const from = Math.floor((first - 1) / PAGE);
    for (const [p, page] of store.pages) {
      if (p > from || (p === from && page.a >= first)) { store.pages.delete(p); continue; }
      if (p < from) continue;
      for (const n of page.rows.keys()) if (n >= first) page.rows.delete(n);
      page.b = Math.min(page.b, first - 1);
    }
  },

  note(note) {
    if (store.notes.has(note.k)) return false;
    store.notes.set(note.k, note);
    const after = store.notesAfter.get(note.after) ?? [];
    after.push(note);
    store.notesAfter.set(note.after, after.sort((x, y) => x.k - y.k));
    return true;
  },

  /* Memory stays small, however far somebody scrolls. */
  forget(around) {
    if (store.pages.size <= KEPT_PAGES) return;
    const here = Math.floor((around - 1) / PAGE);
    const far = [...store.pages.keys()].sort((x, y) => Math.abs(y - here) - Math.abs(x - here));
    for (const p of far.slice(0, store.pages.size - KEPT_PAGES)) store.pages.delete(p);
  },
};

/* The rows that came with the page: the first screen needs no second request. */
function adopt() {
  const rows = [];
  for (const div of log.querySelectorAll(".r")) {
    const [anchor, time, text] = div.children;
    rows.push({
      n: Number(anchor.textContent),
      t: Number(time.dataset.t),
      html: text.innerHTML,
      continues: div.classList.contains("more"),
      partial: div.classList.contains("partial"),
      cut: 0,
    });
  }
  for (const div of log.querySelectorAll(".note")) {
    store.note({
      k: Number(div.id.slice(5)), after: Number(div.dataset.after), loss: div.classList.contains("loss"),
      text: div.lastChild.textContent.trim(),
    });
  }
  const [first, last] = [Number(log.dataset.first), Number(log.dataset.last)];
  if (first) store.put(first, last, rows);
}

/* ---- Time beside a line -------------------------------------------------------------------- */

const TIMES = ["start", "clock", "delta", "off"];
const TIME_WORDS = { start: "since start", clock: "clock", delta: "since line above", off: "no times" };
let times = TIMES.includes(remembered("windlass-times")) ? remembered("windlass-times") : "start";
const digits = (n, width = 2) => String(n).padStart(width, "0");

function span(us) {
  const ms = Math.max(0, Math.floor(us / 1000));
  const [h, m, s] = [Math.floor(ms / 3600000), Math.floor(ms / 60000) % 60, Math.floor(ms / 1000) % 60];
  const tail = `.${digits(ms % 1000, 3)}`;
  return h ? `${h}:${digits(m)}:${digits(s)}${tail}` : m ? `${m}:${digits(s)}${tail}` : `${s}${tail}`;
}

function timeText(row, previous) {
  if (times === "clock") {
    const d = new Date(row.t / 1000);
    return `${digits(d.getHours())}:${digits(d.getMinutes())}:${digits(d.getSeconds())}`;
  }
  if (times === "delta") return previous ? `+${span(row.t - previous.t)}` : "";
  return span(row.t - Number(log.dataset.start));
}

/* ---- Elements ------------------------------------------------------------------------------ */

function element(name, className, text) {
  const el = document.createElement(name);
  if (className) el.className = className;
  if (text !== undefined) el.textContent = text;
  return el;
}

function noteElement(note) {
  const div = element("div", note.loss ? "note loss" : "note");
  div.id = `note-${note.k}`;
  const sign = element("span", "", note.loss ? "⚠" : "•");
  sign.setAttribute("aria-hidden", "true");
  div.append(sign, ` ${note.text}`);
  return div;
}

/* Marks pieces of an element's text, counted as JavaScript counts. */
function markText(el, spans, current) {
  const walker = document.createTreeWalker(el, NodeFilter.SHOW_TEXT);
  const nodes = [];
  for (let at = 0, node; (node = walker.nextNode()); at += node.data.length) nodes.push([at, node]);
  for (const [from, to] of [...spans].reverse()) {
    if (from === to) continue;
    for (const [at, node] of nodes) {
      const [a, b] = [Math.max(from - at, 0), Math.min(to - at, node.data.length)];
      if (a >= b) continue;
      // What is behind is split off first, so that `node` keeps its place.
      node.splitText(b);
      const mark = element("mark", current ? "now" : "");
      const middle = node.splitText(a);
      middle.replaceWith(mark);
      mark.append(middle);
    }
  }
}

/* One row with what belongs to it. The HTML comes from the server's renderer, which lets nothing
   through but colours and links: see crates/logs/src/render.rs. */
function itemElement(n, look) {
  const item = element("div", "i");
  item.dataset.n = n;
  if (n === 1) for (const note of store.notesAfter.get(0) ?? []) item.append(noteElement(note));
  if (look.gone) {
    const over = element("div", "note over");
    const show = element("button", "plain", "show them");
    show.type = "button";
    show.dataset.act = "raw";
    over.append(`${look.gone.toLocaleString("en")} ${look.gone === 1 ? "line was" : "lines were"} drawn over: `, show);
    item.append(over);
  }
  const row = store.row(n);
  const div = element("div", ["r", ...look.classes].join(" "));
  const anchor = element("a", "", n);
  anchor.id = `L${n}`;
  anchor.href = `#L${n}`;
  anchor.setAttribute("aria-label", `line ${n}`);
  // Who goes on with the tabulator reaches links, groups and the end of the page, not every line of the
  // log: `:` points at lines.
  anchor.tabIndex = -1;
  const time = element("span", "t", row && times !== "off" ? timeText(row, look.previous) : "");
  const text = element("span", "x");
  if (!row) {
    text.textContent = "…";
    div.classList.add("wait");
  } else if (look.fold) {
    const fold = element("button", "fold");
    fold.type = "button";
    fold.dataset.fold = n;
    fold.setAttribute("aria-expanded", String(!look.fold.isClosed));
    const lines = look.fold.last - look.fold.first;
    const count = element("span", "quiet", ` ${lines.toLocaleString("en")} ${lines === 1 ? "line" : "lines"}${look.foldTime}`);
    fold.append(look.fold.title || "group", count);
    text.append(fold);
  } else {
    text.innerHTML = row.html;
  }
  if (look.silence) text.append(element("span", "quiet", ` ${look.silence}`));
  if (row && look.spans.length && !look.fold) markText(text, look.spans, look.classes.includes("now"));
  if (row?.cut) {
    const more = element("a", "cut", `… ${row.cut.toLocaleString("en")} more bytes`);
    more.href = `${log.dataset.raw}&lines=${n}-${n}`;
    text.append(more);
  }
  div.append(anchor, time, text);
  if (look.sign) {
    const sign = element("span", "hidden", `${look.sign}: `);
    text.prepend(sign);
  }
  item.append(div);
  if (!look.fold?.isClosed) for (const note of store.notesAfter.get(n) ?? []) item.append(noteElement(note));
  return item;
}
