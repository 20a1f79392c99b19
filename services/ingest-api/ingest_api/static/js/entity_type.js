// Settings of an entity type: rows of variants, and the watermark drawn while it is being set.
//
// The preview follows the rules of image-processor's watermark_layout.py; letters are those of the browser.

import { refuse } from "./core/actions.js";
import { call } from "./core/api.js";
import { t } from "./core/texts.js";
import { toast } from "./core/toasts.js";

const WIDTH = 600;
const HEIGHT = 400;
const TILT = Math.PI / 6;
const MOST_TILES_A_SIDE = 64;
const SVG = "http://www.w3.org/2000/svg";

const form = document.getElementById("entity-type");
const rows = document.getElementById("variants");
const preview = document.getElementById("preview");
const field = (name) => document.getElementById(`mark-${name}`);
const kind = () => form.elements.kind.value;

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...children);
  return made;
}

/** A landscape, so that light and dark marks can both be judged. */
function scene() {
  return [
    shape("rect", { width: WIDTH, height: HEIGHT, fill: "#9cc3e6" }),
    shape("circle", { cx: 470, cy: 90, r: 42, fill: "#fff3c4" }),
    shape("path", { d: "M0 270 L140 140 L260 260 L360 170 L600 300 L600 400 L0 400 Z", fill: "#5f7f8f" }),
    shape("path", { d: "M0 320 Q150 260 300 320 T600 310 L600 400 L0 400 Z", fill: "#3d6b4a" }),
    shape("path", { d: "M0 365 Q200 330 420 368 T600 360 L600 400 L0 400 Z", fill: "#26452f" }),
  ];
}

/** What was stored, until the slider is moved: sliders round to their steps. */
function share(name) {
  return Number(field(name).dataset.value ?? field(name).value);
}

function rules() {
  return {
    position: field("position").value,
    opacity: share("opacity"),
    scale: share("scale"),
    margin: share("margin"),
    tiled: field("tiled").checked,
  };
}

/** The mark at its own size, and how many times it is as wide as high. */
async function mark() {
  if (kind() === "text") {
    const text = field("text").value.trim();
    if (!text) return null;
    const made = shape("text", { "font-size": 40, "font-family": "sans-serif", fill: "#ffffff", stroke: "#000000", "stroke-opacity": 0.4, "stroke-width": 1 }, text);
    preview.append(made);
    const box = made.getBBox();
    made.remove();
    return { node: made, box, aspect: box.width / box.height };
  }
  const id = field("picture").value.trim();
  if (kind() !== "picture" || !/^[0-9a-f-]{36}$/i.test(id)) return null;
  const href = `/media/${id}/small`;
  const size = await sizeOf(href);
  if (!size) return null;
  const node = shape("image", { href, width: size.width, height: size.height });
  return { node, box: { x: 0, y: 0, ...size }, aspect: size.width / size.height };
}

const sizes = new Map();

function sizeOf(href) {
  if (!sizes.has(href)) {
    const picture = new Image();
    sizes.set(
      href,
      new Promise((resolve) => {
        picture.onload = () => resolve({ width: picture.naturalWidth, height: picture.naturalHeight });
        picture.onerror = () => resolve(null);
      }),
    );
    picture.src = href;
  }
  return sizes.get(href);
}

function corners({ position, margin, tiled }, width, height, gap) {
  if (!tiled) {
    const at = (start, end, side, length) => (start ? gap : end ? side - gap - length : (side - length) / 2);
    const words = position.split("_");
    return [[at(words.includes("left"), words.includes("right"), WIDTH, width), at(words.includes("top"), words.includes("bottom"), HEIGHT, height)]];
  }
  const stepX = Math.max(width + gap, WIDTH / MOST_TILES_A_SIDE);
  const stepY = Math.max(height + gap, HEIGHT / MOST_TILES_A_SIDE);
  const found = [];
  for (let row = 0; row * stepY < HEIGHT; row += 1) {
    const shift = row % 2 ? -stepX / 2 : 0;
    for (let x = shift; x < WIDTH; x += stepX) found.push([x + (stepX - width) / 2, row * stepY + (stepY - height) / 2]);
  }
  return found;
}

let drawing = 0;

async function draw() {
  const mine = (drawing += 1);
  const wanted = rules();
  for (const name of ["opacity", "scale", "margin"]) field(`${name}-value`).textContent = `${Math.round(wanted[name] * 100)} %`;
  document.getElementById("mark").hidden = kind() === "none";
  for (const part of document.querySelectorAll("[data-kind]")) part.hidden = part.dataset.kind !== kind();
  const drawn = await mark();
  // Another change came while a picture was being loaded.
  if (mine !== drawing) return;
  preview.replaceChildren(...scene());
  if (!drawn) return;
  const gap = Math.floor(wanted.margin * Math.min(WIDTH, HEIGHT));
  const width = Math.min(wanted.scale * WIDTH, WIDTH - 2 * gap, (HEIGHT - 2 * gap) * drawn.aspect);
  const height = width / drawn.aspect;
  const [stampWidth, stampHeight] = wanted.tiled
    ? [width * Math.cos(TILT) + height * Math.sin(TILT), width * Math.sin(TILT) + height * Math.cos(TILT)]
    : [width, height];
  const factor = width / drawn.box.width;
  for (const [x, y] of corners(wanted, stampWidth, stampHeight, gap)) {
    const turn = wanted.tiled ? ` rotate(-30)` : "";
    const place = `translate(${x + stampWidth / 2} ${y + stampHeight / 2})${turn} scale(${factor}) translate(${-drawn.box.x - drawn.box.width / 2} ${-drawn.box.y - drawn.box.height / 2})`;
    preview.append(shape("g", { opacity: wanted.opacity, transform: place }, drawn.node.cloneNode(true)));
  }
}

function watermark() {
  if (kind() === "none") return null;
  const marked = field("variants").value.split(",").map((name) => name.trim()).filter(Boolean);
  return {
    ...(kind() === "text" ? { text: field("text").value } : { pictureMediaId: field("picture").value.trim() }),
    ...rules(),
    ...(marked.length ? { variants: marked } : {}),
  };
}

function body() {
  const variants = [...rows.querySelectorAll(".variant")].map((row) => {
    const value = (name) => row.querySelector(`[data-field=${name}]`).value;
    return { name: value("name").trim(), width: Number(value("width")), format: value("format"), quality: Number(value("quality")) };
  });
  return { variants, strategy: document.getElementById("strategy").value || null, watermark: watermark() };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter;
  button?.setAttribute("aria-busy", "true");
  form.querySelector(".problem").replaceChildren();
  try {
    const saved = await call("PUT", form.action, body(), { headers: { "If-Match": `"${form.dataset.version}"` } });
    form.dataset.version = saved.version;
    toast(t("settings.saved"));
  } catch (error) {
    const fields = (error.errors ?? []).map((one) => `${one.field}: ${one.message}`);
    refuse(form, fields.length ? Object.assign(new Error(fields.join("; ")), { errors: [] }) : error);
  } finally {
    button?.removeAttribute("aria-busy");
  }
});

function countRows() {
  const count = rows.querySelectorAll(".variant").length;
  document.getElementById("add-variant").disabled = count >= Number(form.dataset.most);
  for (const button of rows.querySelectorAll("[data-remove]")) button.disabled = count <= 1;
}

document.getElementById("add-variant").addEventListener("click", () => {
  const made = rows.lastElementChild.cloneNode(true);
  made.querySelector("[data-field=name]").value = "";
  rows.append(made);
  made.querySelector("[data-field=name]").focus();
  countRows();
});
rows.addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove]");
  if (!button) return;
  button.closest(".variant").remove();
  countRows();
});
form.addEventListener("input", (event) => {
  delete event.target.dataset.value;
  draw();
});
form.addEventListener("change", draw);
countRows();
draw();
