// The page of files, put together.

import { localTimes, ready } from "./page.js";
import "./transfers.js";
import "./live.js";

localTimes(document);
ready();
