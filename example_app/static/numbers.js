// JSON, and NDJSON in both directions: sent as the form says, shown as it arrives.

import { $, BROKEN, element, problemBox, problemOf, ready } from "./page.js";

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
  const headers = { "Content-Type": type, Accept: "application/json, application/problem+json" };
  return [lines ? "/api/running" : "/api/summary", { method: "POST", body, headers }];
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
ready();
