// The gallery of a link.

import { t } from "../core/texts.js";
import { toast } from "../core/toasts.js";
import { startErasures, startForgetting } from "./erasures.js";
import { startFinding } from "./finding.js";
import { startListing } from "./listing.js";
import { startChoosing, startViewing } from "./photos.js";

const root = document.getElementById("gallery");
let updateChoice = () => {};
const searchId = startFinding(root, () => updateChoice());
updateChoice = startChoosing(root, searchId);
startViewing(root, searchId);
startListing(root);
startForgetting();
startErasures();

// Addresses of pictures end after a while.
let isTold = false;
root.addEventListener(
  "error",
  (event) => {
    if (isTold || !(event.target instanceof HTMLImageElement)) return;
    isTold = true;
    toast(t("gallery.reload"), { bad: true });
  },
  true,
);
