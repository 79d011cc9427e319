// The log page, 3 of 4: scrolling over any number of lines, following, pointing at lines.
//
// The place is a line and how much of it is scrolled off, never a number of pixels: so a log may have
// more lines than a browser's element can be high, lines may be of any height, and groups may be
// closed. The scroll bar is a scaled picture of it. Wheel and keys move by exact distances.
"use strict";

const MAX_HEIGHT = 8_000_000; // Browsers end near 16.7 million.
const OVERSCAN = 12;

const view = {
  top: 1, // the first line that is seen
  offset: 0, // how much of it is scrolled off, in pixels
  lineHeight: 18,
  following: false,
  filter: null, // the numbers that are shown, in order, when only hits are
  context: 2,
  raw: false,
  picked: null, // [first, last]
  loading: new Map(), // page -> AbortController
  items: [], // numbers in the layer, in order
  elements: new Map(), // number -> {el, key}
  lastScroll: 0,
  queued: false,
};

let layer, space, minimap;

/* ---- Which line comes after which ------------------------------------------------------------ */

function nextLine(n) {
  if (view.filter) return view.filter[lowerBound(view.filter, n + 1)] ?? 0;
  for (let m = n + 1; m <= store.total; m++) {
    const fold = folds.hiding(m);
    if (fold) { m = fold.last; continue; }
    if (!store.isGone(m)) return m;
  }
  return 0;
}

function previousLine(n) {
  if (view.filter) return view.filter[lowerBound(view.filter, n) - 1] ?? 0;
  for (let m = n - 1; m >= 1; m--) {
    const fold = folds.hiding(m);
    if (fold) { m = fold.first + 1; continue; }
    if (!store.isGone(m)) return m;
  }
  return 0;
}

function lowerBound(list, n) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < n) low = middle + 1;
    else high = middle;
  }
  return low;
}

/* The shown line that stands for a number: itself, the head of its group, or the next one. */
function shownFor(n) {
  n = Math.min(Math.max(1, n), Math.max(1, store.total));
  if (view.filter) return view.filter[lowerBound(view.filter, n)] ?? view.filter.at(-1) ?? 1;
  const fold = folds.hiding(n);
  if (fold) return fold.first;
  return store.isGone(n) ? nextLine(n) || previousLine(n) || n : n;
}

const shownCount = () => (view.filter ? view.filter.length : store.total);

/* ---- Loading ------------------------------------------------------------------------------- */

let retryAt = 0;
function need(n) {
  if (n < 1 || n > store.total || store.knows(n) || performance.now() < retryAt) return;
  const p = Math.floor((n - 1) / PAGE);
  if (view.loading.has(p)) return;
  const stop = new AbortController();
  view.loading.set(p, stop);
  // Very long lines come a few at a time: what is there already is not asked for again.
  const page = store.pages.get(p);
  const begin = p * PAGE + 1;
  const from = page?.a === begin && n > page.b ? page.b + 1 : begin;
  const url = `${log.dataset.rows}&from=${from}&count=${begin + PAGE - from}${view.raw ? "&raw=1" : ""}${search.problem ? "" : search.query()}`;
  json(url, stop.signal).then((window) => {
    store.total = Math.max(store.total, window.total);
    if (window.last >= window.first) store.put(window.first, window.last, window.rows);
    for (const note of window.notes) store.note(note);
  }).catch((error) => {
    // Gone from sight is well; if the server is away, it is asked again, but not at once.
    if (error.name === "AbortError") return;
    retryAt = performance.now() + 2000;
    setTimeout(draw, 2050);
  }).finally(() => {
    if (view.loading.get(p) === stop) view.loading.delete(p);
    draw();
  });
}

/* ---- Drawing -------------------------------------------------------------------------------- */

function look(n, previousNumber) {
  const row = store.row(n);
  const classes = [];
  if (row?.continues) classes.push("more");
  if (row?.partial) classes.push("partial");
  const picked = view.picked && n >= view.picked[0] && n <= view.picked[1];
  if (picked) classes.push("hit");
  const problem = problems.byLine.get(n);
  if (problem) classes.push(problem.severity === "error" ? "bad" : "odd");
  const hit = search.isOn() ? search.byLine.get(n) : null;
  const spans = hit?.spans ?? (search.isOn() ? row?.spans : null) ?? [];
  if (search.isOn() && search.now === n) classes.push("now");
  if (view.filter && previousNumber && n > previousNumber + 1) classes.push("gap");
  const fold = folds.byFirst.get(n);
  if (row && folds.ends.has(n) && /^(::endgroup::|##\[endgroup\]|section_end:|travis_fold:end:)/.test(row.html)) classes.push("dim");
  let gone = 0;
  if (!view.filter && row) for (let m = n - 1; m >= 1 && store.isGone(m) && !folds.hiding(m); m--) gone++;
  const level = fold ? fold.level : 0;
  if (level) classes.push(`level-${Math.min(level, 4)}`);
  return {
    row, classes, spans, gone,
    fold: fold ?? null,
    foldTime: fold?.duration_us != null ? `, ${span(fold.duration_us)}` : "",
    silence: folds.silent.has(n) ? span(folds.silent.get(n).duration_us) : "",
    previous: times === "delta" ? store.row(previousNumber) : null,
    sign: problem ? (problem.severity === "error" ? "error" : "warning") : "",
  };
}

function itemFor(n, previousNumber) {
  const seen = look(n, previousNumber);
  const notes = (store.notesAfter.get(n)?.length ?? 0) + (n === 1 ? store.notesAfter.get(0)?.length ?? 0 : 0);
  const key = [
    times, seen.classes.join(), seen.gone, notes, seen.foldTime, seen.silence, seen.fold?.isClosed ?? "", seen.fold?.last ?? "",
    seen.spans.length, seen.previous?.t ?? "", search.words,
  ].join("|");
  const known = view.elements.get(n);
  if (known && known.key === key && known.row === seen.row) return known.el;
  const el = itemElement(n, seen);
  view.elements.set(n, { el, key, row: seen.row });
  return el;
}

function draw() {
  if (view.queued) return;
  view.queued = true;
  requestAnimationFrame(() => { view.queued = false; drawNow(); });
}

function drawNow() {
  const height = log.clientHeight;
  if (!store.total) { announceSpan(); return; }
  if (view.following) { view.top = shownFor(store.total); view.offset = 0; }
  view.top = shownFor(view.top);
  // Numbers stand under each other, however many digits the last one has.
  const wide = `${Math.max(3, String(store.total).length) + 0.5}ch`;
  if (log.style.getPropertyValue("--digits") !== wide) log.style.setProperty("--digits", wide);
  place(height);
  // Not beyond the end, and, when following, exactly at it.
  for (let tries = 0; tries < 3; tries++) {
    const last = view.items.at(-1);
    const element = view.elements.get(last)?.el;
    if (!element || nextLine(last)) break;
    const bottom = element.offsetTop + element.offsetHeight - topEdge();
    const atStart = !previousLine(view.top) && view.offset <= 0;
    if (bottom < height && !atStart) move(bottom - height);
    else if (view.following && bottom > height + 1) move(bottom - height);
    else break;
    place(height);
  }
  const count = shownCount();
  const wanted = Math.min(MAX_HEIGHT, Math.max(height, count * view.lineHeight + 8));
  if (space.style.height !== `${wanted}px`) space.style.height = `${wanted}px`;
  syncBar();
  store.forget(view.top);
  drawMap();
  announceSpan();
}

/* Puts the items around the place into the layer. */
function place(height) {
  const before = [];
  for (let n = view.top; before.length < OVERSCAN && (n = previousLine(n)); ) before.unshift(n);
  const items = [...before, view.top];
  const most = before.length + 1 + Math.ceil(height / view.lineHeight) + OVERSCAN;
  for (let n = view.top; items.length < most && (n = nextLine(n)); ) items.push(n);
  const wanted = new Set();
  const elements = items.map((n, i) => {
    if (!store.knows(n)) need(n);
    const el = itemFor(n, items[i - 1] ?? previousLine(n));
    wanted.add(el);
    return el;
  });
  need(items.at(-1) + PAGE / 2);
  for (const [p, stop] of view.loading) {
    const far = Math.min(...items.map((n) => Math.abs(Math.floor((n - 1) / PAGE) - p)));
    if (far > 2) { stop.abort(); view.loading.delete(p); }
  }
  for (const child of [...layer.children]) if (!wanted.has(child)) child.remove();
  let cursor = layer.firstChild;
  for (const el of elements) {
    if (el === cursor) cursor = cursor.nextSibling;
    else layer.insertBefore(el, cursor);
  }
  const kept = new Set(items);
  for (const n of view.elements.keys()) if (!kept.has(n)) view.elements.delete(n);
  view.items = items;
  const first = view.elements.get(view.top)?.el;
  layer.style.transform = `translateY(${-Math.round((first?.offsetTop ?? 0) + view.offset)}px)`;
}

const topEdge = () => (view.elements.get(view.top)?.el.offsetTop ?? 0) + view.offset;
const heightOf = (n) => view.elements.get(n)?.el.offsetHeight || view.lineHeight;

/* Moves the place by pixels, line by line. */
function move(pixels) {
  view.offset += pixels;
  while (view.offset < 0) {
    const n = previousLine(view.top);
    if (!n) { view.offset = 0; break; }
    view.top = n;
    view.offset += heightOf(n);
  }
  for (let height; view.offset >= (height = heightOf(view.top)); ) {
    const n = nextLine(view.top);
    if (!n) { view.offset = Math.max(0, height - 1); break; }
    view.top = n;
    view.offset -= height;
  }
}

function scrollBy(pixels) {
  if (pixels < 0) unfollow();
  move(pixels);
  drawNow();
  if (pixels > 0 && isAtEnd() && log.dataset.stream) followEnd(true);
}

function isAtEnd() {
  const last = view.items.at(-1);
  const element = view.elements.get(last)?.el;
  return !element || (!nextLine(last) && element.offsetTop + element.offsetHeight - topEdge() <= log.clientHeight + 2);
}

/* ---- The scroll bar --------------------------------------------------------------------------- */

/* How far the place is, from 0 to 1. */
function fraction() {
  const count = Math.max(1, shownCount() - Math.floor(log.clientHeight / view.lineHeight));
  const index = view.filter ? lowerBound(view.filter, view.top) : view.top - 1;
  if (isAtEnd() && view.top > 1) return 1;
  return Math.min(1, (index + view.offset / view.lineHeight) / count);
}

function syncBar() {
  const most = log.scrollHeight - log.clientHeight;
  const to = Math.round(fraction() * Math.max(0, most));
  view.lastScroll = to;
  if (Math.abs(log.scrollTop - to) >= 1) log.scrollTop = to;
}

let settle = 0;
/* Thumb, touch, a browser's own keys: short ways are meant in pixels, long ones as a share. */
function onScroll() {
  const now = log.scrollTop;
  const way = now - view.lastScroll;
  if (Math.abs(way) < 1) return;
  view.lastScroll = now;
  if (way < 0) unfollow();
  if (Math.abs(way) <= log.clientHeight * 1.5) {
    move(way);
  } else {
    const most = Math.max(1, log.scrollHeight - log.clientHeight);
    const count = Math.max(1, shownCount() - Math.floor(log.clientHeight / view.lineHeight));
    const index = Math.floor((now / most) * count);
    view.top = view.filter ? view.filter[Math.min(index, view.filter.length - 1)] ?? 1 : shownFor(index + 1);
    view.offset = 0;
  }
  place(log.clientHeight);
  drawMap();
  announceSpan();
  clearTimeout(settle);
  settle = setTimeout(() => {
    drawNow();
    if (isAtEnd() && log.dataset.stream) followEnd(true);
  }, 120);
}

/* ---- Going to lines -------------------------------------------------------------------------- */

/* The line that was gone to last: "next" counts from it while it is seen. */
let lastGone = 0;

/* Shows a line, opened and a third down the screen. Says which line it shows. */
function goTo(n, where = 0.33) {
  unfollow();
  lastGone = n;
  folds.reveal(n);
  if (view.filter && !view.filter.includes(n)) setFilter(false);
  need(n);
  view.top = shownFor(n);
  view.offset = 0;
  place(log.clientHeight);
  move(-Math.round(log.clientHeight * where));
  drawNow();
}

function followEnd(on) {
  if (view.following === on) return;
  view.following = on;
  const button = document.getElementById("follow");
  if (button) button.setAttribute("aria-pressed", String(on));
  // The end of the log comes by itself now, or no more: who does not see it is told.
  if (log.dataset.stream) say(on ? "Following the end" : "Not following");
  if (on) draw();
}
const unfollow = () => followEnd(false);

function setFilter(on) {
  const anchor = view.top;
  if (on && search.isOn() && search.hits.length) {
    const lines = new Set();
    for (const { line } of search.hits) {
      for (let n = Math.max(1, line - view.context); n <= Math.min(store.total, line + view.context); n++) lines.add(n);
    }
    view.filter = [...lines].sort((a, b) => a - b);
  } else {
    view.filter = null;
  }
  document.getElementById("filter")?.setAttribute("aria-pressed", String(Boolean(view.filter)));
  view.elements.clear();
  view.top = shownFor(anchor);
  view.offset = 0;
}

/* ---- The map beside the log ------------------------------------------------------------------- */

function drawMap() {
  const { clientWidth: width, clientHeight: height } = minimap;
  if (!width || !store.total) return;
  const scale = devicePixelRatio || 1;
  if (minimap.width !== Math.round(width * scale)) minimap.width = Math.round(width * scale);
  if (minimap.height !== Math.round(height * scale)) minimap.height = Math.round(height * scale);
  const pen = minimap.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(minimap);
  const colour = (name) => style.getPropertyValue(name).trim();
  const y = (n) => Math.floor(((n - 1) / Math.max(1, store.total)) * height);
  const last = view.items.at(-1) ?? view.top;
  pen.fillStyle = colour("--map-here");
  const seen = Math.max(4, y(Math.min(last, view.top + log.clientHeight / view.lineHeight)) - y(view.top));
  const whole = !previousLine(view.top) && isAtEnd();
  if (!whole) pen.fillRect(0, Math.min(y(view.top), height - seen), width, seen);
  if (view.picked) {
    pen.fillStyle = colour("--link");
    pen.fillRect(0, y(view.picked[0]), width, Math.max(2, y(view.picked[1] + 1) - y(view.picked[0])));
  }
  const half = width / 2;
  if (search.isOn()) {
    pen.fillStyle = colour("--map-hit");
    if (search.parts) search.parts.forEach((n, i) => { if (n) pen.fillRect(half, (i / search.parts.length) * height, half, Math.max(2, height / search.parts.length)); });
    else for (const { line } of search.hits) pen.fillRect(half, y(line), half, 2);
  }
  for (const severity of ["warning", "error"]) {
    pen.fillStyle = colour(severity === "error" ? "--failed" : "--error");
    for (const p of problems.all) if ((p.severity === "error") === (severity === "error")) pen.fillRect(0, y(p.line), half, 2);
  }
}

/* ---- What is said -------------------------------------------------------------------------- */

let said = 0;
/* For screen readers, with restraint. */
function say(words) {
  clearTimeout(said);
  said = setTimeout(() => { document.getElementById("said").textContent = words; }, 80);
}

function announceSpan() {
  const out = document.getElementById("span");
  const shown = (n) => n.toLocaleString("en");
  const bottom = topEdge() + log.clientHeight;
  let last = view.top;
  for (const n of view.items) {
    const el = view.elements.get(n)?.el;
    if (el && el.offsetTop < bottom - 2) last = n;
  }
  const words = store.total ? `lines ${shown(view.top)}–${shown(last)} of ${shown(store.total)}` : "no output yet";
  if (out.textContent !== words) out.textContent = words;
}

/* ---- Live ------------------------------------------------------------------------------------ */

let fresh = 0;
let told = 0;
function takeRows({ first_row: first, last_row: last, rows }) {
  store.cut(first);
  if (last >= first) store.put(first, last, rows);
  const grown = last - store.total;
  store.total = Math.max(store.total, last);
  for (const row of rows) view.elements.delete(row.n);
  if (rows.some((row) => row.group || /^(<[^>]*>)*[+$] \S/.test(row.html))) loadGroups();
  if (grown > 0) {
    fresh += grown;
    told ||= setTimeout(() => {
      say(`${fresh.toLocaleString("en")} new ${fresh === 1 ? "line" : "lines"}`);
      fresh = told = 0;
    }, 10_000);
  }
  draw();
}

function takeNote(note) {
  if (store.note(note)) { view.elements.clear(); draw(); }
}

function takeEnd({ state, outcome, duration }) {
  // The words, the icon and the links to other steps come from the page itself, once it knows.
  const sign = { passed: "✓", failed: "✕", error: "!", cancelled: "⊘", skipped: "–" }[state] ?? "○";
  const word = element("span", `state s-${state}`);
  const icon = element("span", "icon", sign);
  icon.setAttribute("aria-hidden", "true");
  word.append(icon, ` ${outcome}`);
  document.getElementById("state").replaceChildren(word, ` ${duration}`);
  document.getElementById("live")?.replaceChildren(word.cloneNode(true), ` ${duration}`);
  if (["failed", "error", "cancelled"].includes(state)) {
    const failure = document.getElementById("failure");
    failure.textContent = `Step “${document.querySelector("h1").lastChild.textContent.trim()}”: ${outcome}`;
    failure.hidden = false;
  }
  document.getElementById("follow").hidden = true;
  delete log.dataset.stream;
  draw();
  loadGroups();
  loadProblems(false);
  setTimeout(refresh, 500);
}

let groupsAsked = 0;
let groupsPause = 0;
function loadGroups() {
  // Groups of a log that grows come a while after the last one was seen; the longer the server has
  // to look for them, the longer the while.
  clearTimeout(groupsAsked);
  groupsAsked = setTimeout(async () => {
    const began = performance.now();
    groupsPause = 1000;
    try {
      const { groups } = await json(log.dataset.groups);
      folds.take(groups);
      const none = !folds.all.length;
      document.getElementById("foldall").hidden = none;
      if (!none) { view.elements.clear(); if (view.picked) folds.reveal(view.picked[0]); draw(); }
    } catch { /* Then there are none. */ }
    groupsPause = Math.max(1000, 10 * (performance.now() - began));
  }, groupsPause);
}

async function loadProblems(jump) {
  try {
    problems.take(await json(log.dataset.findings));
  } catch { return; }
  folds.settle();
  view.elements.clear();
  const first = problems.first();
  const buttons = document.getElementById("problems");
  buttons.hidden = !problems.all.length;
  const errors = problems.all.filter((p) => p.severity === "error").length;
  const words = [errors && `${errors} ${errors === 1 ? "error" : "errors"}`,
    problems.all.length - errors && `${problems.all.length - errors} ${problems.all.length - errors === 1 ? "warning" : "warnings"}`];
  buttons.querySelector("output").textContent = words.filter(Boolean).join(", ");
  if (jump && first) {
    goTo(first.line);
    say(`First error, line ${first.line}: ${first.message ?? ""}`);
  }
  draw();
}

/* ---- The beginning ---------------------------------------------------------------------------- */

function startViewer() {
  adopt();
  space = element("div", "space");
  layer = element("div", "layer");
  space.append(layer);
  log.replaceChildren(space);
  minimap = document.getElementById("map");
  minimap.hidden = false;
  document.body.classList.add("viewing");
  const probe = itemElement(0, { classes: [], spans: [], fold: null, gone: 0, sign: "" });
  layer.append(probe);
  view.lineHeight = probe.offsetHeight || 18;
  probe.remove();

  log.addEventListener("scroll", onScroll, { passive: true });
  log.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    event.preventDefault();
    const unit = event.deltaMode === 1 ? view.lineHeight : event.deltaMode === 2 ? log.clientHeight : 1;
    scrollBy(event.deltaY * unit);
  }, { passive: false });
  new ResizeObserver(() => draw()).observe(log);
  minimap.addEventListener("pointerdown", (event) => {
    const jump = (e) => {
      const box = minimap.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (e.clientY - box.top) / box.height));
      goTo(Math.round(share * store.total) || 1, 0.5);
    };
    jump(event);
    minimap.setPointerCapture(event.pointerId);
    minimap.onpointermove = jump;
    minimap.onpointerup = () => { minimap.onpointermove = null; };
  });

  const first = Number(log.dataset.first) || 1;
  const asked = new URLSearchParams(location.search);
  const calm = !location.hash && !asked.has("from") && !asked.has("lines") && !asked.has("q");
  if (log.dataset.marked && !location.hash) history.replaceState(null, "", `#${log.dataset.marked}`);
  if (asked.has("from")) view.top = shownFor(Number(asked.get("from")) || first);
  else if (calm || !readHash()) { view.top = shownFor(store.total); }
  if (log.dataset.stream && calm) view.following = true;
  drawNow();
  if (readHash()) pointAt(true);
  loadGroups();
  loadProblems(calm && ["failed", "error"].includes(log.dataset.state));
  if (log.dataset.stream) {
    document.getElementById("follow").setAttribute("aria-pressed", String(view.following));
    const from = (id) => log.dataset.stream.replace(/from=\d+/, `from=${id}`);
    const stop = follow((id) => (id ? from(id) : log.dataset.stream), {
      rows: takeRows,
      note: takeNote,
      end: (data) => { stop(); takeEnd(data); },
    });
  }
}

/* ---- Pointing at lines: #L10, #L10-L20 --------------------------------------------------------- */

function readHash() {
  const [, from, to] = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash) ?? [];
  view.picked = from ? [Number(from), Number(to ?? from)].sort((a, b) => a - b) : null;
  return view.picked;
}

function pointAt(scroll) {
  readHash();
  const tools = document.getElementById("picked");
  tools.hidden = !view.picked;
  if (view.picked) {
    const [first, last] = view.picked;
    tools.querySelector("output").textContent = first === last ? `Line ${first}` : `Lines ${first}–${last}`;
    if (scroll) goTo(first);
  }
  draw();
}
