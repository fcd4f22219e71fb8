// The page: sends bodies, and shows what the server says about them.
// What comes from outside becomes text, never markup.
"use strict";

const $ = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function bytes(count) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit ? count.toFixed(count < 10 ? 1 : 0) : count} ${units[unit]}`;
}

// -- errors: problem documents (RFC 9457), or a connection that broke --------------

function problemOf(status, type, text) {
  if ((type || "").startsWith("application/problem+json")) return JSON.parse(text);
  return { status, title: "Failed", detail: text.slice(0, 300) };
}

const BROKEN = {
  title: "The connection broke",
  detail: "The server is gone, or refused to go on. Nothing incomplete was kept.",
};

function problemBox(problem) {
  const title = [problem.status, problem.title].filter(Boolean).join(" ");
  return element(
    "p",
    { className: "problem" },
    element("strong", { textContent: title }),
    element("br"),
    problem.detail || "",
  );
}

// -- uploads: one request per file, the body is the file as it is --------------------

let maxFile = Infinity;
let queue = Promise.resolve();

// The server takes a name as it is, or refuses it; make it one that is taken.
function safeName(name) {
  const cleaned = name
    .normalize("NFC")
    .replace(/[\p{C}\p{Zl}\p{Zp}/\\:*?"<>|]/gu, "_")
    .replace(/[^\S ]/gu, " ")
    .replace(/^[.\-~ ]+/, "_")
    .replace(/[. ]+$/, "");
  const dot = cleaned.lastIndexOf(".");
  const extension = dot > 0 && cleaned.length - dot < 20 ? cleaned.slice(dot) : "";
  let stem = cleaned.slice(0, cleaned.length - extension.length);
  while (new TextEncoder().encode(stem + extension).length > 200) {
    stem = [...stem].slice(0, -1).join("");
  }
  return stem + extension || "file";
}

class Transfer {
  constructor(file) {
    this.file = file;
    this.state = element("span", { className: "state", textContent: "waiting" });
    this.bar = element("progress", { max: file.size || 1, value: 0 });
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.button = element("button", {
      type: "button",
      className: "small",
      textContent: "Cancel",
      onclick: () => this.cancel(),
    });
    this.button.setAttribute("aria-label", `Cancel the upload of ${file.name}`);
    this.row = element(
      "div",
      { className: "row" },
      element("span", { className: "name", textContent: file.name }),
      this.state,
    );
    this.below = element("div", {}, this.bar, this.button);
    this.item = element("li", {}, this.row, this.below);
    $("transfers").prepend(this.item);
  }

  send(replace = false) {
    if (this.cancelled) return Promise.resolve();
    if (this.file.size > maxFile) {
      this.fail({
        title: "Too large",
        detail: `The file has ${bytes(this.file.size)}, limit ${bytes(maxFile)}.`,
      });
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      // fetch() cannot tell how much was sent; XMLHttpRequest can.
      const request = (this.request = new XMLHttpRequest());
      request.open("PUT", `/files/${encodeURIComponent(safeName(this.file.name))}`);
      request.setRequestHeader("Accept", "application/json, application/problem+json");
      if (!replace) request.setRequestHeader("If-None-Match", "*");
      const started = performance.now();
      request.upload.onprogress = ({ loaded }) => {
        this.bar.value = loaded;
        const rate = loaded / ((performance.now() - started) / 1000 || 1);
        const percent = Math.floor((100 * loaded) / (this.file.size || 1));
        this.state.textContent = `${percent} %, ${bytes(rate)}/s`;
      };
      request.onload = () => {
        if (request.status === 201) {
          this.finish(JSON.parse(request.responseText));
        } else {
          const type = request.getResponseHeader("Content-Type");
          this.fail(problemOf(request.status, type, request.responseText));
        }
        resolve();
      };
      request.onerror = () => {
        this.fail(BROKEN);
        resolve();
      };
      request.onabort = () => {
        this.end("cancelled", element("p", { className: "hint", textContent: "The server kept nothing of it." }));
        resolve();
      };
      request.send(this.file);
    });
  }

  cancel() {
    this.cancelled = true;
    if (this.request) this.request.abort();
    else this.end("cancelled", element("p", { className: "hint", textContent: "It was not sent." }));
  }

  end(state, ...children) {
    const focused = this.below.contains(document.activeElement);
    this.item.className = state;
    this.state.textContent = state;
    this.below.replaceChildren(...children);
    if (focused) (this.below.querySelector("button") || $("picker")).focus();
  }

  finish(received) {
    const facts = {
      Size: `${received.size.toLocaleString("en")} bytes`,
      Type: received.content_type || "not said",
      Time: `${received.seconds} s`,
      "SHA-256": received.sha256,
    };
    const list = element("dl");
    for (const [name, value] of Object.entries(facts)) {
      const className = name === "SHA-256" ? "mono" : "";
      list.append(
        element("dt", { textContent: name }),
        element("dd", { textContent: value, className }),
      );
    }
    this.end("done", list);
    showFiles();
  }

  fail(problem) {
    const children = [problemBox(problem)];
    if (problem.status === 409) {
      const replace = element("button", {
        type: "button",
        className: "small",
        textContent: "Replace it",
        onclick: () => {
          this.item.className = "";
          this.below.replaceChildren(this.bar, this.button);
          this.button.focus();
          queue = queue.then(() => this.send(true));
        },
      });
      children.push(element("div", { className: "actions" }, replace));
    }
    this.end("failed", ...children);
  }
}

function upload(files) {
  for (const file of files) {
    const transfer = new Transfer(file);
    queue = queue.then(() => transfer.send());
  }
}

$("picker").addEventListener("change", ({ target }) => {
  upload(target.files);
  target.value = "";
});
for (const [type, over] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
  });
}
$("drop").addEventListener("drop", (event) => upload(event.dataTransfer.files));
// A file that is dropped beside the field must not replace the page.
for (const type of ["dragover", "drop"]) {
  document.addEventListener(type, (event) => event.preventDefault());
}

// -- files ---------------------------------------------------------------------------

async function showFiles() {
  const response = await fetch("/files", { headers: { Accept: "application/json" } });
  const { files, max_file } = await response.json();
  maxFile = max_file;
  $("max-file").textContent = `up to ${bytes(max_file)} each`;
  $("count").textContent = files.length ? files.length : "";
  $("empty").hidden = files.length > 0;
  $("files").replaceChildren(...files.map(fileItem));
}

function fileItem({ name, size, modified, url }) {
  const when = new Date(modified).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const proxied = element("a", { href: url.replace("/files/", "/proxy/"), textContent: "Proxy" });
  proxied.setAttribute("aria-label", `Download ${name} through the proxy`);
  proxied.title = "The same bytes, streamed through a reverse proxy";
  const remove = element("button", {
    type: "button",
    className: "small danger",
    textContent: "Delete",
    onclick: async () => {
      if (!confirm(`Delete ${name}?`)) return;
      await fetch(url, { method: "DELETE" });
      await showFiles();
      $("picker").focus();
    },
  });
  remove.setAttribute("aria-label", `Delete ${name}`);
  return element(
    "li",
    {},
    element(
      "div",
      { className: "about" },
      element("a", { className: "name", href: url, textContent: name }),
      element("small", { textContent: `${bytes(size)} · ${when}` }),
    ),
    element("div", { className: "links" }, proxied, remove),
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
showFiles();
