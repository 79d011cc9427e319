// The log page, 2 of 4: what is found in the log. Problems and groups come from the server once;
// searching is the server's work, too, over the whole log, and its hits come as they are found.
"use strict";

/* ---- Groups of lines ----------------------------------------------------------------------- */

const folds = {
  all: [], // {kind, first, last, title, closed, level, duration_us}
  silent: new Map(), // first -> a command that took its time and printed nothing
  byFirst: new Map(),
  ends: new Set(), // the lines that end one
  choices: new Map(), // first -> closed, where somebody chose
  closed: [], // the outermost that are closed, in order

  take(groups) {
    folds.all = groups.filter((g) => g.last > g.first);
    folds.silent = new Map(groups.filter((g) => g.last === g.first && g.duration_us >= 1e6).map((g) => [g.first, g]));
    folds.byFirst = new Map(folds.all.map((g) => [g.first, g]));
    folds.ends = new Set(folds.all.filter((g) => g.ended).map((g) => g.last));
    folds.settle();
  },
  isClosed(fold) {
    // Nobody should have to look for what went wrong.
    return folds.choices.get(fold.first) ?? (fold.closed && !problems.within(fold.first, fold.last));
  },
  settle() {
    folds.closed = [];
    for (const fold of folds.all) {
      const outer = folds.closed.at(-1);
      if (outer && fold.first <= outer.last) continue;
      fold.isClosed = folds.isClosed(fold);
      if (fold.isClosed) folds.closed.push(fold);
    }
    for (const fold of folds.all) fold.isClosed = folds.isClosed(fold);
  },
  /* The closed group that hides this line. */
  hiding(n) {
    let [low, high] = [0, folds.closed.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (folds.closed[middle].first < n) low = middle + 1;
      else high = middle;
    }
    const fold = folds.closed[low - 1];
    return fold && n <= fold.last ? fold : null;
  },
  choose(first, closed) {
    folds.choices.set(first, closed);
    folds.settle();
  },
  chooseAll(closed) {
    for (const fold of folds.all) folds.choices.set(fold.first, closed);
    folds.settle();
  },
  /* Opens whatever hides a line. */
  reveal(n) {
    for (let fold; (fold = folds.hiding(n)); ) folds.choose(fold.first, false);
  },
};

/* ---- What went wrong ------------------------------------------------------------------------ */

const problems = {
  all: [], // {line, severity, message}
  byLine: new Map(),
  read: null, // the one to read first, where the server says which
  take({ findings, first }) {
    const known = (p) => Number.isInteger(p?.line) && p.line > 0 && ["error", "warning"].includes(p.severity);
    problems.read = known(findings[first]) ? findings[first] : null;
    problems.all = findings.filter(known).sort((a, b) => a.line - b.line);
    problems.byLine = new Map();
    for (const p of problems.all) {
      if (problems.byLine.get(p.line)?.severity !== "error") problems.byLine.set(p.line, p);
    }
  },
  within: (first, last) => problems.all.some((p) => p.line >= first && p.line <= last && p.severity === "error"),
  first: () => problems.read ?? problems.all.find((p) => p.severity === "error"),
};

/* ---- Searching ------------------------------------------------------------------------------ */

const KEPT_HITS = 5000;
const search = {
  words: "", case: false, literal: false,
  hits: [], // {line, spans}
  byLine: new Map(),
  count: 0, whole: false, parts: null, problem: "", progress: 0,
  now: 0, // the line of the current hit
  stop: null,

  isOn: () => search.words !== "",
  query() {
    const q = `&q=${encodeURIComponent(search.words)}`;
    return search.isOn() ? `${q}${search.case ? "&case=1" : ""}${search.literal ? "&literal=1" : ""}` : "";
  },
  clear() {
    search.stop?.abort();
    Object.assign(search, { words: "", hits: [], byLine: new Map(), count: 0, whole: false, parts: null, problem: "", progress: 0, now: 0, stop: null });
  },

  /* Looks through the whole log; `changed` is called when there is news. */
  async run(words, changed) {
    search.clear();
    search.words = words;
    changed();
    if (!words) return;
    const stop = new AbortController();
    search.stop = stop;
    try {
      const answer = await fetch(`${log.dataset.search}&limit=${KEPT_HITS}${search.query()}`, { signal: stop.signal });
      if (!answer.ok) {
        const error = await answer.json().catch(() => ({}));
        // The parser's words have the place marked on lines of their own; the last one is the reason.
        const said = String(error.error ?? "the server could not search").trim().split("\n").at(-1);
        search.problem = [said, error.hint].filter(Boolean).join(" – ");
        search.whole = true;
        return;
      }
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", piece; !(piece = await reader.read()).done; ) {
        const lines = (rest + piece.value).split("\n");
        rest = lines.pop();
        for (const line of lines) search.take(JSON.parse(line));
        changed();
      }
      search.whole = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      search.problem = "the search ended early: the server was not reached";
      search.whole = true;
    } finally {
      if (search.stop === stop) changed();
    }
  },
  take(found) {
    if (found.line) {
      search.hits.push(found);
      search.byLine.set(found.line, found);
      search.count = Math.max(search.count, search.hits.length);
    } else if (found.done) {
      Object.assign(search, { count: found.hits, parts: found.parts, progress: 1 });
    } else if (found.of) {
      Object.assign(search, { count: found.hits, progress: found.at / found.of });
    } else if (found.error) {
      search.problem = found.error;
    }
  },

  /* The hit after a line, or before it, going round at the ends. */
  async next(from, back) {
    const { hits } = search;
    if (search.whole && search.count === hits.length) {
      if (!hits.length) return null;
      const behind = hits.findIndex((hit) => hit.line > from);
      if (!back) return hits[behind < 0 ? 0 : behind].line;
      const before = hits.findLastIndex((hit) => hit.line < from);
      return hits[before < 0 ? hits.length - 1 : before].line;
    }
    // Not all are here: the server knows.
    const ask = async (start) => {
      const where = `&from=${start}&dir=${back ? "prev" : "next"}`;
      const answer = await fetch(`${log.dataset.search}${where}${search.query()}`);
      return answer.ok ? (await answer.json()).hit : null;
    };
    const hit = (await ask(back ? from : from + 1)) ?? (await ask(back ? store.total + 1 : 1));
    return hit?.line ?? null;
  },
};

async function json(url, signal) {
  const answer = await fetch(url, { signal });
  if (!answer.ok) throw new Error(`${answer.status} at ${url}`);
  return answer.json();
}
