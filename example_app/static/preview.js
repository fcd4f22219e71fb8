// A file, shown in a dialog: pictures, sounds and videos by the browser's own elements,
// which ask for the ranges they need; of a text the beginning.

import { $, bytes, element } from "./page.js";

const SHOW = {
  image: (src, alt) => element("img", { src, alt }),
  audio: (src) => element("audio", { src, controls: true, preload: "metadata" }),
  video: (src) => element("video", { src, controls: true, preload: "metadata", playsInline: true }),
  text: (src) => {
    const text = element("pre", { textContent: "…", tabIndex: 0 });
    fetch(src)
      .then((answer) => (answer.ok ? answer.text() : Promise.reject()))
      .then((content) => (text.textContent = content))
      .catch(() => failed(text));
    return text;
  },
};

function failed(shown) {
  const words = "Your browser cannot show this file. Download it to open it elsewhere.";
  shown.replaceWith(element("p", { className: "problem", textContent: words }));
}

export function preview({ url, name, kind, size }) {
  const shown = SHOW[kind](url.replace("/files/", "/preview/"), name);
  shown.addEventListener("error", () => failed(shown));
  if (kind !== "text") shown.setAttribute("aria-label", name);
  $("preview-title").textContent = name;
  $("preview-facts").textContent = bytes(Number(size));
  $("preview-download").href = url;
  $("shown").replaceChildren(shown);
  $("preview").showModal();
}

// What plays has to end; and so has what is still loading.
$("preview").addEventListener("close", () => $("shown").replaceChildren());
// A click beside it is one on its backdrop, which is a part of the dialog.
$("preview").addEventListener("click", ({ target, clientX, clientY }) => {
  if (target !== $("preview")) return;
  const { left, right, top, bottom } = target.getBoundingClientRect();
  if (clientX < left || clientX > right || clientY < top || clientY > bottom) target.close();
});
