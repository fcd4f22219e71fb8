// What both halves of the page use: elements, sizes, pictures, problems.

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
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

// A file's picture, or its extension where there is none. For the eye alone: the name
// stands beside it.
export function picture({ name, preview }) {
  const dot = name.lastIndexOf(".");
  const extension = dot > 0 && name.length - dot < 6 ? name.slice(dot + 1) : "file";
  const frame = element("div", { className: "picture" }, extension);
  frame.setAttribute("aria-hidden", "true");
  if (preview) {
    const image = element("img", { src: preview, alt: "", loading: "lazy" });
    image.onerror = () => image.remove();
    frame.append(image);
  }
  return frame;
}

// -- errors: problem documents (RFC 9457), or a connection that broke --------------

export function problemOf(status, type, text) {
  if ((type || "").startsWith("application/problem+json")) return JSON.parse(text);
  return { status, title: "Failed", detail: text.slice(0, 300) };
}

export const BROKEN = {
  title: "The connection broke",
  detail: "The server is gone, or refused to go on. Nothing incomplete was kept.",
};

export function problemBox(problem) {
  const title = [problem.status, problem.title].filter(Boolean).join(" ");
  return element(
    "p",
    { className: "problem" },
    element("strong", { textContent: title }),
    element("br"),
    problem.detail || "",
  );
}
