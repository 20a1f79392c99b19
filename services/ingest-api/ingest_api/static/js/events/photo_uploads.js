// Uploads that become photos of an event: what the server has taken is safe, and is looked at by itself.

import { t } from "../core/texts.js";

/** A destination of UploadQueue. */
export class PhotoUploads {
  headers = {};
  isFollowed = false;

  constructor(address) {
    this.address = address;
  }

  accepted(item, { status, filename }) {
    if (status === "duplicate") return { note: t("uploads.duplicate") };
    return { note: filename === item.file.name.normalize("NFC") ? "" : t("uploads.renamed", { name: filename }) };
  }
}
