// Uploads that become media: each has a job, which is followed to its end.

import { call } from "../core/api.js";
import { onMessage } from "../core/live.js";

/** A destination of UploadQueue. */
export class MediaUploads {
  address = "/api/admin/media";
  headers = { Prefer: "respond-async" };
  isFollowed = true;
  #byJob = new Map();

  listen(hear) {
    const tell = (jobId, told) => {
      const item = this.#byJob.get(jobId);
      if (item) hear(item, told);
      if (item && told.status === "completed") this.#byJob.delete(jobId);
    };
    onMessage("media:progress", ({ jobId, progress }) => tell(jobId, { status: "active", progress }));
    onMessage("media:processed", ({ jobId, success, error }) =>
      tell(jobId, { status: success ? "completed" : "failed", progress: 100, error }),
    );
  }

  accepted(item, { jobId, mediaId }) {
    this.#byJob.set(jobId, item);
    return { jobId, mediaId };
  }

  async look(item) {
    try {
      return await call("GET", `/api/admin/media/jobs/${item.jobId}`);
    } catch (error) {
      // Jobs are removed after their time, and media stay.
      return error.status === 404 ? { status: "completed", progress: 100 } : null;
    }
  }

  retry(item) {
    return call("POST", `/api/admin/media/jobs/${item.jobId}/retry`);
  }
}
