// The list: search, pages, and what can be done with a file. The server draws it, for
// those without a script as well; here its part of the page is exchanged for a new one.

import { $, localTimes, problemOf, say } from "./page.js";
import { preview } from "./preview.js";

const PATIENCE = 250; // milliseconds

// -- loading -----------------------------------------------------------------------

let loading = null;

// A page as a document; its scripts do not run. Nothing when a newer one is wanted.
function fetchPage(url) {
  loading?.abort();
  const request = (loading = new XMLHttpRequest());
  request.open("GET", url);
  request.setRequestHeader("Accept", "text/html");
  request.responseType = "document";
  return new Promise((resolve) => {
    request.onloadend = () => resolve(request.status === 200 ? request.response : null);
    request.send();
  });
}

async function show(url = location.href) {
  const fresh = (await fetchPage(url))?.getElementById("listing");
  if (!fresh) return false;
  localTimes(fresh);
  const focused = $("files").contains(document.activeElement) ? document.activeElement : null;
  // A file that is there still stays as it is: with its digest, its picture, its focus.
  const old = new Map([...$("files").children].map((item) => [item.dataset.id, item]));
  const items = [...fresh.querySelector("#files").children];
  $("files").replaceChildren(...items.map((item) => old.get(item.dataset.id) ?? item));
  $("summary").replaceWith(fresh.querySelector("#summary"));
  $("more")?.remove();
  const more = fresh.querySelector("#more");
  if (more) $("listing").append(more);
  if (focused?.isConnected) focused.focus({ preventScroll: true });
  return true;
}

function addressOf(form) {
  const given = [...new FormData(form)].filter(([, value]) => value);
  return given.length ? `/?${new URLSearchParams(given)}` : "/";
}

async function search() {
  const url = addressOf($("search"));
  history.replaceState(null, "", url);
  if (await show(url)) say($("summary").textContent);
}

// Once, however often it is wanted in a moment.
function soon(action) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, PATIENCE);
  };
}

// Files came or went: by this page, or by what the log tells of others.
export const refresh = soon(() => show());

$("query").addEventListener("input", soon(search));
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
window.addEventListener("popstate", () => {
  $("query").value = new URLSearchParams(location.search).get("q") || "";
  show();
});

// -- one file ------------------------------------------------------------------------

async function copyLink({ url, name }, control) {
  const link = new URL(url, location.href).href;
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    // No clipboard without TLS, but on localhost. The link to be copied by hand:
    prompt("The link", link);
    return;
  }
  control.textContent = "Copied";
  say(`The link to ${name} is copied`);
  setTimeout(() => (control.textContent = "Copy link"), 2000);
}

async function digest({ url, name }, control) {
  const output = control.closest("li").querySelector("output");
  output.hidden = false;
  output.textContent = "reading …";
  const answer = await fetch(url.replace("/files/", "/sha256/")).catch(() => null);
  output.textContent = answer?.ok ? (await answer.json()).sha256 : "It could not be read.";
}

let doomed = null;

function remove(file, control) {
  doomed = { ...file, item: control.closest("li") };
  $("doomed").textContent = file.name;
  $("confirm").showModal();
}

// When a button is pressed, and not when the dialog has closed: that is told later, and
// by then it can be open again for another file.
$("confirm").addEventListener("submit", ({ submitter }) => {
  if (submitter.value === "delete") destroy(doomed);
});

async function destroy({ url, name, item }) {
  const place = [...$("files").children].indexOf(item);
  const answer = await fetch(url, { method: "DELETE" }).catch(() => null);
  if (answer?.ok || answer?.status === 404) {
    item.remove();
    say(`${name} is deleted`);
    refresh();
  } else {
    say(`${name} is not deleted: ${problemOf(answer?.status).words}`);
  }
  const neighbour = $("files").children[place] ?? $("files").lastElementChild;
  (neighbour?.querySelector("[data-action=delete]") ?? $("files-title")).focus();
}

const ACTIONS = { copy: copyLink, digest, preview, delete: remove };

$("kept").addEventListener("click", (event) => {
  const control = event.target.closest("[data-action]");
  // With a modifier a link is opened elsewhere, as everywhere.
  if (!control || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  ACTIONS[control.dataset.action](control.closest("li").dataset, control);
});
$("kept").addEventListener("submit", async (event) => {
  if (event.target.id !== "more") return;
  event.preventDefault();
  const url = addressOf(event.target);
  history.pushState(null, "", url);
  if (!(await show(url))) return;
  $("files-title").focus();
  $("files-title").scrollIntoView();
});
