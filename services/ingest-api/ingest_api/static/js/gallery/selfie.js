// A picture of the guest: from the camera, or a file. It stays in this page until the guest sends it.

import { t } from "../core/texts.js";

const LONGEST_EDGE_PX = 1280;
const QUALITY = 0.9;

/** The picture upright, no larger than a search needs, and without what cameras note beside it. */
async function prepared(source, width, height) {
  const scale = Math.min(1, LONGEST_EDGE_PX / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  canvas.getContext("2d").drawImage(source, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/jpeg", QUALITY);
  });
}

export class Selfie {
  /** `changed` is called whenever there is a picture, or none any more. */
  constructor(root, changed) {
    this.picture = null;
    this.changed = changed;
    this.stream = null;
    this.shown = root.querySelector(".shown");
    this.video = root.querySelector("video");
    this.image = root.querySelector("img");
    this.says = root.querySelector("[data-says]");
    this.camera = root.querySelector("[data-camera]");
    this.shutter = root.querySelector("[data-take]");
    this.capture = root.querySelector("[data-capture]");
    this.camera.addEventListener("click", () => this.useCamera());
    this.shutter.addEventListener("click", () => this.take());
    for (const input of root.querySelectorAll('input[type="file"]')) {
      input.addEventListener("change", () => {
        if (input.files.length) this.useFile(input.files[0]);
        input.value = "";
      });
    }
    if (!navigator.mediaDevices?.getUserMedia) this.offerPhoneCamera();
  }

  async useCamera() {
    this.clear();
    this.say("");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
    } catch (error) {
      this.say(t(error.name === "NotAllowedError" ? "gallery.camera_refused" : "gallery.camera_missing"));
      this.offerPhoneCamera();
      return;
    }
    this.stop();
    this.stream = stream;
    this.video.srcObject = stream;
    this.show(this.video);
    this.camera.hidden = true;
    this.shutter.hidden = false;
    this.shutter.focus();
  }

  /** Browsers that show no camera to pages open the phone's own. */
  offerPhoneCamera() {
    this.camera.hidden = true;
    this.capture.hidden = false;
  }

  async take() {
    if (!this.video.videoWidth) return;
    const picture = await prepared(this.video, this.video.videoWidth, this.video.videoHeight);
    this.stop();
    this.have(picture);
  }

  async useFile(file) {
    this.clear();
    this.say("");
    try {
      const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
      const picture = await prepared(bitmap, bitmap.width, bitmap.height);
      bitmap.close();
      this.have(picture);
    } catch {
      // What this browser can't open may be one that the server can.
      this.have(file);
    }
  }

  have(picture) {
    this.picture = picture;
    this.image.src = URL.createObjectURL(picture);
    this.show(this.image);
    this.changed();
  }

  /** Let go of the picture and of the camera. */
  clear() {
    this.stop();
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.removeAttribute("src");
    this.show(null);
    if (this.picture === null) return;
    this.picture = null;
    this.changed();
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.stream = null;
    this.video.srcObject = null;
    this.shutter.hidden = true;
    this.camera.hidden = !this.capture.hidden;
  }

  show(what) {
    this.video.hidden = what !== this.video;
    this.image.hidden = what !== this.image;
    this.shown.hidden = what === null;
  }

  say(text) {
    this.says.textContent = text;
    this.says.hidden = !text;
  }
}
