// What happens, as it happens: server-sent events, shown as a log.
//
// A browser opens six connections to a server at most, and each event stream keeps one.
// So of several tabs only one listens, the one that has the lock, and tells the others;
// when it is closed or hidden, the next one goes on behind the last event it knows. A
// tab that is hidden hears nothing and catches up when it is shown. (Without TLS, other
// than on localhost, there are no locks: each tab that is shown listens by itself.)

import { refresh } from "./files.js";
import { $, bytes, element } from "./page.js";

const MOST = 100;

const known = new Map(); // events by their ids, the oldest first
const others = new BroadcastChannel("events");
let source = null;
let leave = () => {};

// -- the log ---------------------------------------------------------------------------

const WORDS = {
  stored: ({ name, size, seconds }) => [name, bytes(size) + (seconds === undefined ? "" : ` in ${seconds} s`)],
  download: ({ name, range }) => [name, range],
  deleted: ({ name }) => [name],
  refused: ({ detail, status }) => [`${status}`, detail],
  cancelled: ({ name }) => [name ?? "an upload"],
  interrupted: () => ["an upload"],
  resumed: ({ size }) => ["an upload", `that has ${bytes(size)}`],
};

function line(event) {
  const [what, more] = WORDS[event.kind]?.(event) ?? [""];
  const when = new Date(event.time * 1000);
  return element(
    "li",
    { className: event.kind },
    element("time", { dateTime: when.toISOString(), textContent: when.toLocaleTimeString([], { timeStyle: "medium" }) }),
    element(
      "span",
      {},
      element("strong", { textContent: event.kind }),
      " ",
      element("span", { className: "name", textContent: what }),
      more ? ` ${more}` : "",
    ),
  );
}

function hear(event) {
  if (known.has(event.id)) return;
  known.set(event.id, event);
  const list = $("log").firstElementChild;
  list.prepend(line(event));
  while (known.size > MOST) {
    known.delete(known.keys().next().value);
    list.lastElementChild.remove();
  }
  if (event.kind === "stored" || event.kind === "deleted") {
    refresh();
  }
}

function state(words) {
  $("live").textContent = words;
  $("live").className = words;
}

// -- listening -------------------------------------------------------------------------

function listen() {
  const last = [...known.keys()].at(-1);
  source = new EventSource(last ? `/events?after=${encodeURIComponent(last)}` : "/events");
  const tell = (words) => {
    state(words);
    others.postMessage({ state: words });
  };
  source.onopen = () => tell("live");
  // The browser tries again by itself, with the last id, unless it was told not to.
  source.onerror = () => {
    tell("reconnecting");
    if (source?.readyState === EventSource.CLOSED) setTimeout(again, 5000);
  };
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    hear(event);
    others.postMessage({ events: [event] });
  };
}

function again() {
  if (source?.readyState === EventSource.CLOSED) listen();
}

others.onmessage = ({ data }) => {
  data.events?.forEach(hear);
  if (data.state) state(data.state);
  // A tab that has just come knows nothing of what was before.
  if (data.asks && source) {
    others.postMessage({ events: [...known.values()], state: $("live").textContent });
  }
};

function join() {
  leave();
  const gone = new AbortController();
  leave = () => {
    gone.abort();
    source?.close();
    source = null;
  };
  if (!navigator.locks) {
    listen();
    return;
  }
  others.postMessage({ asks: true });
  const turn = () =>
    new Promise((resolve) => {
      gone.signal.addEventListener("abort", resolve);
      listen();
    });
  navigator.locks.request("events", { signal: gone.signal }, turn).catch(() => {});
}

document.addEventListener("visibilitychange", () => (document.hidden ? leave() : join()));
window.addEventListener("pagehide", () => leave());
window.addEventListener("pageshow", ({ persisted }) => persisted && join());
if (!document.hidden) join();
