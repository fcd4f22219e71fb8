// What all modules use: elements, sizes, times, and problems in words.
// What comes from outside becomes text, never markup; the page's policy sees to it too.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// A button of which several are on the page: its name says which one it is.
export function button(textContent, label, onclick) {
  const made = element("button", { type: "button", className: "small", textContent, onclick });
  made.setAttribute("aria-label", label);
  return made;
}

// Called when the scripts of a page listen: style.css then shows what needs them.
export function ready() {
  document.documentElement.classList.add("ready");
}

// Said to who listens, and not looks.
export function say(text) {
  $("news").textContent = text;
}

export function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(count < 10 ? 1 : 0) : count} ${units[unit]}`;
}

// Times are written for those without a script in UTC; here they are the reader's own.
export function localTimes(root) {
  const format = new Intl.DateTimeFormat([], { dateStyle: "medium", timeStyle: "short" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.textContent = format.format(new Date(time.dateTime));
  }
}

// -- errors: problem documents (RFC 9457), or a connection that broke --------------

const WORDS = {
  400: "This cannot be done",
  403: "This is not allowed from here",
  404: "It is not there any more",
  408: "The connection was too slow",
  409: "There is a file of that name already",
  413: "This is too large",
  415: "This kind of file is not welcome here",
  422: "Something in it is not as it should be",
  507: "The storage is full",
};

export function problemOf(status, type, text) {
  const words = WORDS[status] || "The server could not do it";
  if (!(type || "").startsWith("application/problem+json")) return { status, words };
  const { detail } = JSON.parse(text);
  return { status, words, detail };
}

export const BROKEN = {
  words: "The connection broke",
  detail: "The server is gone, or refused to go on. Nothing incomplete was kept.",
};

export function problemBox({ words, detail, status }) {
  const box = element("p", { className: "problem" }, element("strong", { textContent: words }));
  if (detail) box.append(element("br"), detail[0].toUpperCase() + detail.slice(1));
  if (status) box.append(" ", element("small", { textContent: `(${status})` }));
  return box;
}
