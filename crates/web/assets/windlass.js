// The script of every page. Pages are whole without it; it moves what can move: the parts of a page
// that are marked `data-live` follow the server's events. Server-sent events do the reconnecting;
// the server's ids make that exact. The log page has a script of its own beside it: log/*.js.
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
  setTimeout(() => {
    // What was told while this page was being loaded, or in the second after it, is not forgotten.
    const again = refreshing === "again";
    refreshing = null;
    if (again) refresh();
  }, 1000);
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

/* ---- 2. What the browser remembers --------------------------------------------------------- */

function remembered(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch { /* Storage may be forbidden; then nothing is remembered. */ }
  return null;
}
