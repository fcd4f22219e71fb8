// Uploads straight to the bucket. The server says where a file goes and, when it is
// there, what has become of it; the bytes do not pass through it.

import { $, BROKEN, button, bytes, element, problemBox, problemOf, ready, say } from "./page.js";

const maxFile = Number($("upload").dataset.maxFile);

class Refused extends Error {
  constructor(problem) {
    super(problem.detail || problem.words);
    this.problem = problem;
  }
}

async function ask(path, question) {
  const headers = {
    "Content-Type": "application/json",
    Accept: "application/json, application/problem+json",
  };
  const body = JSON.stringify(question);
  const answer = await fetch(path, { method: "POST", headers, body }).catch(() => {
    throw new Refused(BROKEN);
  });
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  throw new Refused(problemOf(answer.status, answer.headers.get("Content-Type"), text));
}

// Both are what Uppy needs: `signRequest` of its plugin @uppy/aws-s3 returns what the
// first one gives, and the second is called at `upload-success`.
export const sign = ({ name, size, type }) => ask("/direct/sign", { name, size, content_type: type });
export const confirm = (key, name) => ask("/direct/confirm", { key, name });

// fetch() cannot tell how much was sent; XMLHttpRequest can.
function put({ url, method, headers }, file, onprogress) {
  const request = new XMLHttpRequest();
  request.open(method, url);
  for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
  request.upload.onprogress = onprogress;
  const done = new Promise((resolve, reject) => {
    const refuse = (words, detail) => reject(new Refused({ words, detail, status: request.status || undefined }));
    request.onload = () => (request.status < 300 ? resolve() : refuse("The bucket refused it"));
    request.onabort = () => resolve("cancelled");
    request.onerror = () => refuse(
      "The bucket cannot be reached",
      "It is away, or its CORS configuration does not let this site upload.",
    );
    request.send(file);
  });
  return { done, cancel: () => request.abort() };
}

class Transfer {
  constructor(file) {
    this.file = file;
    this.name = element("span", { className: "name", textContent: file.name });
    this.state = element("span", { className: "state", textContent: "waiting" });
    this.bar = element("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Upload of ${file.name}`);
    this.below = element("div", { className: "row" });
    const head = element("div", { className: "row" }, this.name, this.state);
    this.item = element("li", {}, element("div", { className: "about" }, head, this.below));
    $("transfers").prepend(this.item);
  }

  async send() {
    try {
      if (this.file.size > maxFile) {
        const detail = `The file has ${bytes(this.file.size)}, and ${bytes(maxFile)} is the most.`;
        throw new Refused({ status: 413, words: "This is too large", detail });
      }
      const signed = await sign(this.file);
      const { done, cancel } = put(signed, this.file, ({ loaded, total }) => {
        this.bar.value = loaded / total;
        this.state.textContent = `${Math.floor((100 * loaded) / total)} %`;
      });
      this.below.replaceChildren(this.bar, button("Cancel", `Cancel the upload of ${this.file.name}`, cancel));
      if (await done) {
        this.end("cancelled");
        return;
      }
      this.state.textContent = "looked at";
      this.below.replaceChildren(this.bar);
      const { files: [stored] } = await confirm(signed.key, this.file.name);
      this.name.replaceChildren(element("a", { href: stored.url, textContent: this.file.name }));
      const facts = [bytes(stored.size), stored.content_type.split(";")[0]];
      this.end("done", element("small", { textContent: facts.join(" · ") }));
    } catch (error) {
      if (!error.problem) throw error;
      this.end("failed", problemBox(error.problem));
    }
  }

  end(state, ...children) {
    this.item.className = state;
    this.state.textContent = state;
    this.below.replaceChildren(...children);
    say(`${this.file.name}: ${state}`);
  }
}

async function pick() {
  const transfers = [...$("picker").files].map((file) => new Transfer(file));
  $("picker").value = "";
  for (const transfer of transfers) await transfer.send();
}
$("picker").addEventListener("change", pick);
pick(); // what was chosen before this was loaded
ready();
