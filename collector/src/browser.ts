/** The build for a script tag: `tellwire.start(...)`. */

import { start } from "./index.js";

(globalThis as { tellwire?: unknown }).tellwire = Object.freeze({ start });
