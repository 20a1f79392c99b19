// A link that is over: what was asked for before can still be asked after.

import { startErasures } from "./erasures.js";

startErasures();
