// A signed receipt of an erasure as a file, as it is verified.

import { element } from "./core/dom.js";

export function saveReceipt({ id, receipt, signature, public_key }) {
  const text = JSON.stringify({ receipt, signature, public_key }, null, 2);
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  element("a", { href: address, download: `erasure-${id}.json` }).click();
  URL.revokeObjectURL(address);
}
