// The page of files, put together.

import { localTimes } from "./page.js";
import "./transfers.js";
import "./live.js";

localTimes(document);
