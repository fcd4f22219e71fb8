// Uploads: one form with one file each, a few of them at once.

import { $, BROKEN, bytes, element, picture, problemBox, problemOf } from "./page.js";

const AT_ONCE = 3;

const waiting = [];
let running = 0;
let maxFile = Infinity;

// What the server takes: said to whoever chooses a file.
export function welcome(limit, types) {
  maxFile = limit;
  const what = types.length ? `${types.join(", ")}, ` : "";
  $("welcome").textContent = `${what}up to ${bytes(limit)} each`;
  $("picker").accept = types.join(",");
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    running += 1;
    waiting.shift().send().finally(() => {
      running -= 1;
      next();
    });
  }
}

class Transfer {
  constructor(file) {
    this.file = file;
    this.state = element("span", { className: "state" });
    this.bar = element("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.picture = picture({ name: file.name });
    this.below = element("div", {});
    this.item = element(
      "li",
      {},
      this.picture,
      element(
        "div",
        { className: "about" },
        element("div", { className: "row" }, element("span", { className: "name", textContent: file.name }), this.state),
        this.below,
      ),
    );
    $("transfers").prepend(this.item);
    this.draw();
    this.enqueue();
  }

  // Drawn here, before anything is sent; no URL of it is needed for that.
  async draw() {
    if (!this.file.type.startsWith("image/")) return;
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
    this.cancelled = false;
    this.request = null;
    this.item.className = "";
    this.state.textContent = "waiting";
    this.bar.value = 0;
    const cancel = element("button", {
      type: "button",
      className: "small plain",
      textContent: "Cancel",
      onclick: () => this.cancel(),
    });
    cancel.setAttribute("aria-label", `Cancel the upload of ${this.file.name}`);
    this.below.replaceChildren(element("div", { className: "row" }, this.bar, cancel));
    waiting.push(this);
    next();
  }

  async send() {
    if (this.cancelled) return;
    if (this.file.size > maxFile) {
      this.fail({
        title: "Too large",
        detail: `The file has ${bytes(this.file.size)}, limit ${bytes(maxFile)}.`,
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
    if (outcome === "abort") this.end("cancelled", hint("The server kept nothing of it."));
    else if (outcome === "error") this.fail(BROKEN);
    else if (request.status === 201) this.finish(JSON.parse(request.responseText));
    else this.fail(problemOf(request.status, request.getResponseHeader("Content-Type"), request.responseText));
  }

  cancel() {
    this.cancelled = true;
    if (this.request) {
      this.request.abort();
      return;
    }
    waiting.splice(waiting.indexOf(this), 1);
    this.end("cancelled", hint("It was not sent."), this.again());
  }

  again() {
    const button = element("button", {
      type: "button",
      className: "small plain",
      textContent: "Try again",
      onclick: () => {
        this.enqueue();
        this.below.querySelector("button").focus();
      },
    });
    button.setAttribute("aria-label", `Try again to upload ${this.file.name}`);
    return button;
  }

  end(state, ...children) {
    const focused = this.below.contains(document.activeElement);
    this.item.className = state;
    this.state.textContent = state;
    this.below.replaceChildren(...children);
    if (focused) (this.below.querySelector("button, a") || $("picker")).focus();
    $("clear").hidden = false;
    $("news").textContent = `${this.file.name}: ${state}`;
  }

  finish({ files: [stored], seconds }) {
    const facts = [bytes(stored.size), stored.content_type, `${seconds} s`];
    this.end(
      "done",
      element("small", { textContent: facts.join(" · ") }),
      element("small", { textContent: "SHA-256 " }, element("span", { className: "mono", textContent: stored.sha256 })),
    );
    document.dispatchEvent(new Event("stored"));
  }

  fail(problem) {
    const box = problemBox(problem);
    // What the server has judged it will judge again.
    const hopeless = problem.status >= 400 && problem.status < 500 && problem.status !== 408;
    this.end("failed", box, ...(hopeless || this.file.size > maxFile ? [] : [this.again()]));
  }
}

function hint(textContent) {
  return element("p", { className: "hint", textContent });
}

function upload(files) {
  for (const file of files) new Transfer(file);
  $("under-way").hidden = !$("transfers").children.length;
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
