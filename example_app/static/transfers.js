// Uploads: one form with one file each, a few of them at once. Each has its progress,
// its result, and what can be done about it, in one line of a list.

import { refresh } from "./files.js";
import { $, BROKEN, button, bytes, element, problemBox, problemOf, say } from "./page.js";

const AT_ONCE = 3;
// Beyond that a canvas would take more memory than a thumbnail is worth.
const MOST_DRAWN = 30 * 1024 * 1024;

const maxFile = Number($("upload").dataset.maxFile);
const waiting = [];
let running = 0;

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift().send().finally(() => {
      running -= 1;
      next();
    });
  }
}

function hint(textContent) {
  return element("p", { className: "hint", textContent });
}

class Transfer {
  constructor(file) {
    this.file = file;
    this.name = element("span", { className: "name", textContent: file.name });
    this.state = element("span", { className: "state" });
    this.bar = element("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    const dot = file.name.lastIndexOf(".");
    const extension = dot > 0 && file.name.length - dot < 6 ? file.name.slice(dot + 1) : "file";
    this.picture = element("div", { className: "picture", textContent: extension });
    this.picture.setAttribute("aria-hidden", "true");
    this.below = element("div");
    const head = element("div", { className: "row" }, this.name, this.state);
    const about = element("div", { className: "about" }, head, this.below);
    this.item = element("li", {}, this.picture, about);
    $("transfers").prepend(this.item);
    this.draw();
  }

  // Drawn here, before anything is sent; no URL of it is needed for that.
  async draw() {
    if (!this.file.type.startsWith("image/") || this.file.size > MOST_DRAWN) return;
    try {
      const image = await createImageBitmap(this.file);
      const canvas = element("canvas", { width: 96, height: 96 });
      const scale = 96 / Math.min(image.width, image.height);
      const [width, height] = [image.width * scale, image.height * scale];
      canvas.getContext("2d").drawImage(image, (96 - width) / 2, (96 - height) / 2, width, height);
      image.close();
      this.picture.append(canvas);
    } catch {
      // It is called an image and is none; the server will tell.
    }
  }

  enqueue() {
    this.request = null;
    this.item.className = "";
    this.state.textContent = "waiting";
    this.bar.value = 0;
    const cancel = button("Cancel", `Cancel the upload of ${this.file.name}`, () => this.cancel());
    this.below.replaceChildren(element("div", { className: "row" }, this.bar, cancel));
    waiting.push(this);
    next();
  }

  async send() {
    if (this.file.size > maxFile) {
      this.fail({
        status: 413,
        words: "This is too large",
        detail: `The file has ${bytes(this.file.size)}, and ${bytes(maxFile)} is the most.`,
      });
      return;
    }
    // fetch() cannot tell how much was sent; XMLHttpRequest can.
    const request = (this.request = new XMLHttpRequest());
    const form = new FormData();
    form.append("file", this.file);
    request.open("POST", "/files");
    request.setRequestHeader("Accept", "application/json, application/problem+json");
    const started = performance.now();
    request.upload.onprogress = ({ loaded, total }) => {
      this.bar.value = loaded / total;
      const rate = loaded / ((performance.now() - started) / 1000 || 1);
      this.state.textContent = `${Math.floor((100 * loaded) / total)} %, ${bytes(rate)}/s`;
    };
    request.upload.onload = () => {
      this.state.textContent = "storing";
    };
    const outcome = await new Promise((resolve) => {
      for (const type of ["load", "error", "abort"]) {
        request.addEventListener(type, () => resolve(type));
      }
      request.send(form);
    });
    if (outcome === "abort") this.end("cancelled", hint("The server kept nothing of it."), this.again());
    else if (outcome === "error") this.fail(BROKEN);
    else if (request.status === 201) this.finish(JSON.parse(request.responseText));
    else this.fail(problemOf(request.status, request.getResponseHeader("Content-Type"), request.responseText));
  }

  cancel() {
    if (this.request) {
      this.request.abort();
      return;
    }
    waiting.splice(waiting.indexOf(this), 1);
    this.end("cancelled", hint("It was not sent."), this.again());
  }

  again() {
    return button("Try again", `Try again to upload ${this.file.name}`, () => {
      this.enqueue();
      this.below.querySelector("button")?.focus();
    });
  }

  end(state, ...children) {
    const focused = this.below.contains(document.activeElement);
    this.item.className = state;
    this.state.textContent = state;
    this.below.replaceChildren(...children);
    if (focused) (this.below.querySelector("button, a") || $("picker")).focus();
    $("clear").hidden = false;
    say(`${this.file.name}: ${state}`);
  }

  finish({ files: [stored], seconds }) {
    const facts = [bytes(stored.size), stored.content_type.split(";")[0], `${seconds} s`];
    this.name.replaceChildren(element("a", { href: stored.url, textContent: this.file.name }));
    this.end(
      "done",
      element("small", { textContent: facts.join(" · ") }),
      element("small", {}, "SHA-256 ", element("span", { className: "mono", textContent: stored.sha256 })),
    );
    refresh();
  }

  fail(problem) {
    const { status } = problem;
    // What the server has judged it will judge again; time helps against the others.
    const hopeless = status >= 400 && status < 500 && status !== 408;
    this.end("failed", problemBox(problem), ...(hopeless ? [] : [this.again()]));
  }
}

function upload(files) {
  for (const file of files) new Transfer(file).enqueue();
  $("under-way").hidden = !$("transfers").children.length;
}

// What is dropped can be a folder, which looks like a file that cannot be read.
function dropped({ items }) {
  for (const item of items) {
    if (item.kind !== "file") continue;
    const file = item.getAsFile();
    if (!item.webkitGetAsEntry?.()?.isDirectory) {
      upload([file]);
      continue;
    }
    new Transfer(file).fail({
      status: 422,
      words: "This is a folder",
      detail: "Open it, and drop the files that are in it.",
    });
    $("under-way").hidden = false;
  }
}

function pick() {
  upload($("picker").files);
  $("picker").value = "";
}
$("picker").addEventListener("change", pick);
pick(); // what was chosen before this was loaded

// The whole page takes what is dropped; beside the field it must not replace the page.
let over = 0;
document.addEventListener("dragenter", () => $("drop").classList.toggle("over", (over += 1) > 0));
document.addEventListener("dragleave", () => $("drop").classList.toggle("over", (over -= 1) > 0));
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  over = 0;
  $("drop").classList.remove("over");
  dropped(event.dataTransfer);
});
document.addEventListener("paste", ({ clipboardData }) => upload(clipboardData.files));

// To leave now would end what is under way.
window.addEventListener("beforeunload", (event) => {
  if (running) event.preventDefault();
});
$("clear").addEventListener("click", () => {
  for (const item of [...$("transfers").children]) if (item.className) item.remove();
  $("clear").hidden = true;
  $("under-way").hidden = !$("transfers").children.length;
  $("picker").focus();
});
