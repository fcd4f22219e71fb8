// The page: what is stored, and numbers. Uploads are transfers.js's.
// What comes from outside becomes text, never markup.

import { $, BROKEN, bytes, element, picture, problemBox, problemOf } from "./page.js";
import { welcome } from "./transfers.js";

// -- files ---------------------------------------------------------------------------

async function showFiles() {
  const response = await fetch("/files", { headers: { Accept: "application/json" } });
  const { files, count, max_file, accept } = await response.json();
  welcome(max_file, accept);
  $("count").textContent = count || "";
  $("empty").hidden = count > 0;
  $("files").replaceChildren(...files.map(fileItem));
}

function action(textContent, name, onclick, className = "small plain") {
  const button = element("button", { type: "button", className, textContent, onclick });
  button.setAttribute("aria-label", `${textContent} ${name}`);
  return button;
}

function fileItem(file) {
  const { name, size, modified, url } = file;
  const when = new Date(modified).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const digest = element("output", { className: "mono", hidden: true });
  const proxied = element("a", {
    href: url.replace("/files/", "/proxy/"),
    textContent: "Proxy",
    title: "The same bytes, streamed through a reverse proxy",
  });
  proxied.setAttribute("aria-label", `Download ${name} through the proxy`);
  const hash = action("SHA-256", name, async () => {
    hash.disabled = true;
    const answer = await fetch(url.replace("/files/", "/sha256/"));
    digest.textContent = answer.ok ? (await answer.json()).sha256 : "It is gone.";
    digest.hidden = false;
  });
  hash.setAttribute("aria-label", `SHA-256 of ${name}`);
  const remove = action("Delete", name, async () => {
    if (!confirm(`Delete ${name}?`)) return;
    await fetch(url, { method: "DELETE" });
    await showFiles();
    $("files-title").focus();
    $("news").textContent = `${name} is deleted`;
  }, "small plain danger");
  return element(
    "li",
    {},
    picture(file),
    element(
      "div",
      { className: "about" },
      element("a", { className: "name", href: url, textContent: name }),
      element("small", { textContent: `${bytes(size)} · ${when}` }),
      digest,
      element("div", { className: "links" }, hash, proxied, remove),
    ),
  );
}

// -- numbers: JSON, and NDJSON in both directions ------------------------------------

function numbers() {
  return $("values").value.split("\n").filter((line) => line.trim()).map(Number);
}

const FAULTS = {
  type: (values) => [...values, "three"],
  size: (values) => [...values, ...Array(40000).fill(1)],
};

function requestFor(kind, fault) {
  const values = (FAULTS[fault] || ((same) => same))(numbers());
  const lines = kind === "ndjson";
  let body = lines
    ? values.map((value) => `${JSON.stringify({ value })}\n`).join("")
    : JSON.stringify({ values });
  if (fault === "syntax") body = body.trimEnd().slice(0, -1);
  let type = lines ? "application/x-ndjson" : "application/json";
  if (fault === "media") type = "image/png";
  return [lines ? "/api/running" : "/api/summary", { method: "POST", body, headers: { "Content-Type": type, Accept: "application/json, application/problem+json" } }];
}

$("numbers").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = $("answer");
  answer.replaceChildren();
  const [url, options] = requestFor(event.submitter?.value || "json", $("fault").value);
  try {
    const response = await fetch(url, options);
    const type = response.headers.get("Content-Type");
    if (!response.ok) {
      answer.append(problemBox(problemOf(response.status, type, await response.text())));
      return;
    }
    const out = element("pre");
    out.tabIndex = 0;
    answer.append(out);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece; !(piece = await reader.read()).done; ) out.append(piece.value);
  } catch {
    answer.append(problemBox(BROKEN));
  }
});

$("curl").textContent = `curl -T big.iso ${location.origin}/files/`;
document.addEventListener("stored", showFiles);
showFiles();
