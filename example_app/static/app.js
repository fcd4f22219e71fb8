// What the pages have in common, and which module each of them needs.

import { $, localTimes } from "./page.js";

localTimes(document);

if ($("upload")) {
  import("./transfers.js");
  import("./files.js");
  import("./live.js");
}
if ($("numbers")) import("./numbers.js");
