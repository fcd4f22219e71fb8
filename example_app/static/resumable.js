// A file that is sent on from where it was interrupted: by a network that is lost, a
// server that is killed, a page that is loaded anew. This is the IETF's protocol
// (draft-ietf-httpbis-resumable-upload). An empty request creates the upload, a PATCH
// sends the bytes, a HEAD asks how far they came; the last answer is what the server's
// handler says to any other upload. tus has no such answer, and the file of its client
// is a dozen times as large as this one.
//
// What was begun is kept in the browser's database, the file with it if it is not too
// large: the browser makes a copy of it.

const MOST_KEPT = 256 * 1024 * 1024;
const PAUSES = [0.5, 1, 2, 4, 8]; // seconds
// No answer, or one of a moment: another request was faster, or a server is restarted.
const PASSING = new Set([0, 408, 409, 423, 429, 500, 502, 503, 504]);
const GONE = new Set([404, 410]);
const ACCEPT = "application/json, application/problem+json";

// -- what is remembered --------------------------------------------------------------

// Without a database, as in some private windows, a page that is left forgets.
const database = new Promise((resolve) => {
  const opening = indexedDB.open("uploads", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("uploads", { keyPath: "url" });
  opening.onsuccess = () => resolve(opening.result);
  opening.onerror = () => resolve(null);
});

async function withStore(mode, action) {
  const transaction = (await database)?.transaction("uploads", mode);
  if (!transaction) return null;
  return new Promise((resolve) => {
    const request = action(transaction.objectStore("uploads"));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => resolve(null); // no room
  });
}

async function remember(url, file) {
  const { name, size, lastModified } = file;
  await withStore("readwrite", (store) => store.put({ url, name, size, lastModified }));
  if (size <= MOST_KEPT) {
    withStore("readwrite", (store) => store.put({ url, name, size, lastModified, file }));
  }
}

// Of several pages one sends an upload: the one that has its lock, while it is there.
// Without TLS, other than on localhost, there are no locks: then none takes it by itself.
const locks = new Map();

function take(url) {
  if (!navigator.locks) return false;
  return new Promise((resolve) => {
    navigator.locks.request(`upload ${url}`, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && new Promise((release) => locks.set(url, release));
    });
  });
}

// What was interrupted when a page was left, and no other page goes on with.
export async function interrupted() {
  const records = (await withStore("readonly", (store) => store.getAll())) ?? [];
  const free = await Promise.all(records.map(({ url }) => take(url)));
  return records.filter((_, index) => free[index] || !navigator.locks);
}

export function isSame(file, record) {
  return ["name", "size", "lastModified"].every((key) => file[key] === record[key]);
}

// -- one upload ------------------------------------------------------------------------

// As RFC 8187 has it, which is stricter than URLs.
const encoded = (text) =>
  encodeURIComponent(text).replace(/['()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16)}`);

export class Upload {
  // `onprogress` is told how many bytes are there, `onpause` that it was interrupted.
  constructor(file, { url = null, onprogress = () => {}, onpause = () => {} }) {
    Object.assign(this, { file, url, onprogress, onpause });
    this.cancelled = false;
    this.request = null;
    this.wake = () => {};
    window.addEventListener("online", () => this.wake());
  }

  // The last answer, as a request that is done; null when it was cancelled. After one
  // above 499 it can be sent again, and goes on.
  async send() {
    for (let tries = 0; ; tries += 1) {
      this.moved = false;
      const answer = await this.attempt();
      if (this.cancelled) return null;
      const { status } = answer;
      const lost = GONE.has(status) && this.url !== null; // it is begun anew
      const final = answer.getResponseHeader("Upload-Complete") === "?1";
      if (final || !(lost || PASSING.has(status))) {
        if (final || status < 500) this.done();
        return answer;
      }
      if (lost) this.done();
      if (status === 0 && !(await this.isReadable())) {
        this.cancel();
        return answer;
      }
      if (this.moved) tries = 0;
      this.onpause();
      await this.pause(PAUSES[Math.min(tries, PAUSES.length - 1)]);
      if (this.cancelled) return null;
    }
  }

  pause(seconds) {
    return new Promise((resolve) => {
      this.wake = resolve;
      setTimeout(resolve, seconds * 1000);
    });
  }

  async attempt() {
    let offset = 0;
    if (this.url === null) {
      const created = await this.ask("POST", "/files", {
        "Content-Type": this.file.type || "application/octet-stream",
        "Content-Disposition": `inline; filename*=UTF-8''${encoded(this.file.name)}`,
        "Upload-Complete": "?0",
        "Upload-Length": this.file.size,
      });
      if (created.status !== 201 || this.cancelled) return created;
      // By whatever name this page has reached the server.
      const { pathname, search } = new URL(created.getResponseHeader("Location"));
      this.url = pathname + search;
      take(this.url);
      await remember(this.url, this.file);
    } else {
      const told = await this.ask("HEAD", this.url);
      if (told.status !== 204) return told;
      offset = Number(told.getResponseHeader("Upload-Offset"));
    }
    if (this.cancelled) return null;
    this.onprogress(offset);
    const fields = {
      "Content-Type": "application/partial-upload",
      "Upload-Complete": "?1",
      "Upload-Offset": offset,
    };
    return this.ask("PATCH", this.url, fields, this.file.slice(offset), ({ loaded }) => {
      this.moved = loaded > 0;
      this.onprogress(offset + loaded);
    });
  }

  // fetch() cannot tell how much was sent; XMLHttpRequest can.
  ask(method, url, fields = {}, body = null, onprogress = null) {
    const request = (this.request = new XMLHttpRequest());
    request.open(method, url);
    request.setRequestHeader("Accept", ACCEPT);
    for (const [name, value] of Object.entries(fields)) request.setRequestHeader(name, value);
    request.upload.onprogress = onprogress;
    return new Promise((resolve) => {
      request.onloadend = () => resolve(request);
      request.send(body);
    });
  }

  // A file that was changed or removed meanwhile breaks a request as a network does.
  isReadable() {
    return this.file.slice(0, 1).arrayBuffer().then(() => true, () => false);
  }

  cancel() {
    this.cancelled = true;
    this.request?.abort();
    this.wake();
    if (this.url !== null) fetch(this.url, { method: "DELETE" }).catch(() => {});
    this.done();
  }

  done() {
    if (this.url === null) return;
    const { url } = this;
    withStore("readwrite", (store) => store.delete(url));
    locks.get(url)?.();
    locks.delete(url);
    this.url = null;
  }
}
