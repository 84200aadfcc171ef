// Keeps the page up to date: the server sends the HTML of each section that has changed, and what differs is put in place.
// Focus, scroll, open details and what is selected stay as they are. Without this script the page is whole, and is reloaded.
"use strict";

const stream = document.body.dataset.stream;
const element = id => document.getElementById(id);
// The server's clock counts: this one may be wrong.
const ahead = Date.now() - Number(document.body.dataset.now);

// Times

const format = options => new Intl.DateTimeFormat(undefined, { hourCycle: "h23", ...options });
const clock = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const day = { day: "numeric", month: "short", year: "numeric" };
const forms = {
  minute: format({ hour: "2-digit", minute: "2-digit" }),
  clock: format(clock),
  moment: format({ ...day, ...clock }),
  instant: format({ ...clock, fractionalSecondDigits: 3 }),
  exact: format({ ...day, ...clock, fractionalSecondDigits: 3 }),
};
// What happened today needs no date.
const ofToday = { moment: "clock", exact: "instant" };
const today = () => new Date().toDateString();
const two = number => String(number).padStart(2, "0");

const elapsed = at => {
  const seconds = Math.max(0, Math.floor((Date.now() - ahead - at) / 1000));
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${two(seconds % 60)}` : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
};

const written = time => {
  const at = new Date(time.dateTime);
  if (time.dataset.form === "since") return elapsed(at);
  const form = time.dataset.form;
  return forms[at.toDateString() === today() ? ofToday[form] || form : form].format(at);
};

const localize = root => {
  for (const time of root.querySelectorAll("time[data-form]")) {
    time.textContent = written(time);
    if (time.dataset.form !== "since") time.title = time.dateTime;
  }
};

const tick = () => {
  if (holding) return;
  for (const time of document.querySelectorAll('time[data-form="since"]')) {
    const text = written(time);
    if (time.textContent !== text) time.textContent = text;
  }
};

// Sections

const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");

const adopt = (old, now) => {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== now.data) old.data = now.data;
    return;
  }
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    // Whether details are open is the reader's business.
    if (!now.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  adoptChildren(old, now);
};

// Takes a node away; the one behind it.
const drop = node => {
  const behind = node.nextSibling;
  node.remove();
  return behind;
};

const adoptChildren = (old, now) => {
  // What is gone goes first: what stays need not be moved then, and keeps what is selected in it.
  const staying = new Set([...now.children].map(child => child.id));
  for (const child of [...old.children]) if (child.id && !staying.has(child.id)) child.remove();
  let next = old.firstChild;
  for (const child of [...now.childNodes]) {
    // The blanks between rows that are gone: what comes behind them would be moved before them.
    while (next && next.nodeType === Node.TEXT_NODE && child.nodeType === Node.ELEMENT_NODE) next = drop(next);
    let found = null;
    if (next && alike(next, child)) found = next;
    else if (child.id) found = [...old.children].find(other => alike(other, child)) || null;
    if (!found) old.insertBefore(child, next);
    else {
      if (found === next) next = next.nextSibling;
      else old.insertBefore(found, next);
      adopt(found, child);
    }
  }
  while (next) next = drop(next);
};

const put = (id, html) => {
  const section = element(id);
  if (!section) return;
  const now = document.createElement("template");
  now.innerHTML = html;
  localize(now.content);
  const focused = section.contains(document.activeElement) ? document.activeElement : null;
  adoptChildren(section, now.content);
  if (focused && document.activeElement !== focused) {
    // What had the focus was moved, or is gone: then its section has it, so that the keyboard goes on from there.
    if (!focused.isConnected) section.tabIndex = -1;
    (focused.isConnected ? focused : section).focus({ preventScroll: true });
  }
};

// Stream

let source = null;
let lost = 0;
let again = 0;
let holding = false;
const held = new Map();

const connect = () => {
  if (source || document.hidden) return;
  source = new EventSource(stream);
  source.addEventListener("section", event => {
    const { id, html } = JSON.parse(event.data);
    if (holding) held.set(id, html);
    else put(id, html);
  });
  source.addEventListener("say", event => { if (!holding) element("said").textContent = JSON.parse(event.data); });
  // The login is over, or shows less than before: the page itself says what now.
  source.addEventListener("bye", () => location.reload());
  source.onopen = () => {
    clearTimeout(lost);
    lost = 0;
    if (element("lost").hidden) return;
    element("lost").hidden = true;
    element("said").textContent = "The connection is back.";
  };
  source.onerror = () => {
    if (!lost) lost = setTimeout(tellLost, 2000);
    // A broken connection is taken up again by the browser. A refusal ends it.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(ask, 3000);
  };
};

const tellLost = () => {
  element("lost").hidden = false;
  element("said").textContent = element("lost").textContent;
};

// Why it was refused. A proxy says so while the server starts, and the server when too many pages are open: that passes, and
// the page stays as it is. Of all else the page itself says why.
const ask = async () => {
  const status = await fetch(stream, { method: "HEAD" }).then(answer => answer.status, () => 503);
  if (status >= 500 || status === 429) again = setTimeout(ask, 3000);
  else if (status === 200) {
    disconnect();
    connect();
  } else location.reload();
};

const disconnect = () => {
  clearTimeout(again);
  if (source) source.close();
  source = null;
};

const hold = button => {
  holding = !holding;
  button.setAttribute("aria-pressed", String(holding));
  button.textContent = holding ? "Go on with updates" : "Pause updates";
  if (!holding) for (const [id, html] of held) put(id, html);
  held.clear();
};

localize(document);
const zone = element("zone");
if (zone) zone.textContent = `Times are those of ${Intl.DateTimeFormat().resolvedOptions().timeZone}.`;
if (stream) {
  setInterval(tick, 1000);
  const button = element("hold");
  button.hidden = false;
  button.addEventListener("click", () => hold(button));
  // A page that nobody sees asks for nothing.
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
  connect();
}
