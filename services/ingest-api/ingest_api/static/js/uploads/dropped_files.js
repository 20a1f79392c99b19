// The files of a drop or of a chosen folder, folders within folders included.

const MOST_FILES = 20_000;
/** What systems leave in folders. */
const LITTER = /^(\..*|thumbs\.db|desktop\.ini)$/i;
/** Browsers know no type for some pictures. */
const PICTURE_NAME = /\.(jpe?g|png|webp|avif|gif|tiff?|bmp|hei[cf])$/i;

/** To be called while the drop is handled: what is dropped is gone afterwards. Resolves to {files, leftOut}. */
export function filesOf(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return collected(entries.filter(Boolean));
}

/** Of a folder that was chosen: everything in it that may be a picture. */
export function picturesAmong(files) {
  const found = { files: [], leftOut: 0 };
  for (const file of files) add(found, file);
  return found;
}

async function collected(entries) {
  const found = { files: [], leftOut: 0 };
  const waiting = [...entries];
  while (waiting.length && found.files.length < MOST_FILES) {
    const entry = waiting.shift();
    if (entry instanceof File) found.files.push(entry);
    else if (entry.isDirectory) waiting.push(...(await entriesIn(entry)));
    else if (entries.includes(entry)) found.files.push(await fileOf(entry));
    else add(found, await fileOf(entry));
  }
  return found;
}

/** What lies in a folder and can't be a picture is left out; what was named itself is sent, and refused with a reason. */
function add(found, file) {
  if (LITTER.test(file.name)) return;
  if (file.type.startsWith("image/") || PICTURE_NAME.test(file.name)) {
    if (found.files.length < MOST_FILES) found.files.push(file);
  } else {
    found.leftOut += 1;
  }
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** A folder gives its entries in portions; an empty one is the end. */
async function entriesIn(folder) {
  const reader = folder.createReader();
  const all = [];
  for (;;) {
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) return all.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
    all.push(...portion);
  }
}
