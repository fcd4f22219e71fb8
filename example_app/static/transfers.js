// Uploads: one for each file, a few of them at once. Each has its progress, its result,
// and what can be done about it, in one line of a list.

import { refresh } from "./files.js";
import { $, button, bytes, element, problemBox, problemOf, say } from "./page.js";
import { interrupted, isSame, Upload } from "./resumable.js";

const AT_ONCE = 3;
// Beyond that a canvas would take more memory than a thumbnail is worth.
const MOST_DRAWN = 30 * 1024 * 1024;

const PAUSED = "interrupted, trying again";
const UNREADABLE = {
  words: "The file cannot be read",
  detail: "It was changed or removed since it was chosen. Choose it again.",
};

const maxFile = Number($("upload").dataset.maxFile);
const waiting = [];
const resting = []; // those whose file has to be chosen again
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
  // A file; or what is known of one whose upload was interrupted.
  constructor(file, url = null) {
    this.file = file;
    this.upload = new Upload(file, {
      url,
      onprogress: (sent) => this.progress(sent),
      onpause: () => this.pause(),
    });
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
    if (!this.file.type?.startsWith("image/") || this.file.size > MOST_DRAWN) return;
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
    this.sending = true;
    this.began = performance.now();
    this.before = null;
    const answer = await this.upload.send();
    if (answer === null) this.end("cancelled", hint("The server kept nothing of it."), this.again());
    else if (answer.status === 201) this.finish(JSON.parse(answer.responseText));
    else if (answer.status === 0) this.fail(UNREADABLE);
    else this.fail(problemOf(answer.status, answer.getResponseHeader("Content-Type"), answer.responseText));
  }

  // How much is there; the rate is that of this page.
  progress(sent) {
    this.before ??= sent;
    const total = this.file.size || 1;
    const rate = (sent - this.before) / ((performance.now() - this.began) / 1000 || 1);
    this.bar.value = sent / total;
    this.state.textContent =
      sent < this.file.size ? `${Math.floor((100 * sent) / total)} %, ${bytes(rate)}/s` : "storing";
  }

  pause() {
    if (this.state.textContent !== PAUSED) say(`${this.file.name}: ${PAUSED}`);
    this.state.textContent = PAUSED;
  }

  cancel() {
    this.upload.cancel();
    if (this.sending) return;
    waiting.splice(waiting.indexOf(this), 1);
    this.end("cancelled", hint("It was not sent."), this.again());
  }

  // After the page was left: its bytes are gone, or nobody may send them unasked.
  rest() {
    resting.push(this);
    this.item.className = "resting";
    this.state.textContent = "interrupted";
    const gone = () => resting.splice(resting.indexOf(this), 1);
    const discard = button("Discard", `Discard the upload of ${this.file.name}`, () => {
      gone();
      this.upload.cancel();
      this.end("discarded", hint("The server kept nothing of it."));
    });
    this.below.replaceChildren(hint("Choose the same file again, and it goes on."), discard);
    this.goOn = (file) => {
      gone();
      this.file = this.upload.file = file;
      this.enqueue();
    };
  }

  again() {
    return button("Try again", `Try again to upload ${this.file.name}`, () => {
      this.upload.cancelled = false;
      this.enqueue();
      this.below.querySelector("button")?.focus();
    });
  }

  end(state, ...children) {
    this.sending = false;
    const focused = this.below.contains(document.activeElement);
    this.item.className = state;
    this.state.textContent = state;
    this.below.replaceChildren(...children);
    if (focused) (this.below.querySelector("button, a") || $("picker")).focus();
    $("clear").hidden = false;
    say(`${this.file.name}: ${state}`);
  }

  finish({ files: [stored] }) {
    const seconds = ((performance.now() - this.began) / 1000).toFixed(1);
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
  for (const file of files) {
    const begun = resting.find((transfer) => isSame(file, transfer.file));
    if (begun) begun.goOn(file);
    else new Transfer(file).enqueue();
  }
  showTransfers();
}

function showTransfers() {
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
    showTransfers();
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

// What was under way when this page, or one before it, was left.
interrupted().then((records) => {
  for (const { url, file, ...known } of records) {
    const transfer = new Transfer(file ?? known, url);
    if (file && navigator.locks) transfer.enqueue();
    else transfer.rest();
  }
  showTransfers();
});

$("clear").addEventListener("click", () => {
  for (const item of [...$("transfers").children]) {
    if (item.className && item.className !== "resting") item.remove();
  }
  $("clear").hidden = true;
  showTransfers();
  $("picker").focus();
});
