// The page's own address, and where the browser goes back to.
//
// A drawer is what covers the page for a while: a detail page beside its list, or one photo of a gallery.
// What a drawer shows has an entry of its own in the history: going back closes the drawer, going forward opens it again.
// The first thing that is shown adds the entry, what is shown next takes its place, and closing the drawer goes back over
// it. Where the browser goes by itself, content follows; what this document can't show is loaded.

const RETURN_MILLISECONDS = 1000;

let own = location.href;
let drawer = null;
let showPage = null;
/** Set while the browser goes back over the entry of a drawer that was closed. */
let returning = null;
/** Gives up waiting for the browser. */
let timer = 0;

// Loaded at an address that a drawer had shown: it is the page's own here.
if (isDrawers()) history.replaceState({ ...history.state, behind: undefined }, "");

export function pageAddress() {
  return own;
}

/** What opens the page's drawer at an address, and what closes it. */
export function startDrawer(show, hide) {
  drawer = { show, hide };
}

/** `show` has this document show another address of its own path, as the browser goes back and forth. */
export function startPage(show) {
  showPage = show;
}

/** Show another address of the page, in an entry of its own. */
export function goTo(address) {
  const wanted = new URL(address, location.href).href;
  if (wanted !== own) history.pushState(null, "", wanted);
  own = wanted;
}

/** Show the address of what the drawer shows. */
export async function standIn(address) {
  await returning?.promise;
  if (isDrawers()) history.replaceState(history.state, "", address);
  else history.pushState({ behind: own }, "", address);
}

/** The drawer is closed: go back over its entry, unless that is how it was closed. */
export function comeBack() {
  if (!isDrawers() || returning) return;
  returning = Promise.withResolvers();
  timer = setTimeout(returned, RETURN_MILLISECONDS);
  history.back();
}

function returned() {
  clearTimeout(timer);
  returning?.resolve();
  returning = null;
}

addEventListener("popstate", () => {
  const isClosed = returning !== null;
  returned();
  const page = history.state?.behind ?? location.href;
  if (!isSame(page, own)) {
    if (!showPage || new URL(page).pathname !== new URL(own).pathname) {
      location.reload();
      return;
    }
    own = page;
    showPage(page);
  }
  if (isDrawers()) drawer?.show(location.href);
  else if (!isClosed) drawer?.hide();
});

function isDrawers() {
  return history.state?.behind !== undefined;
}

/** Places within a page are the same page. */
function isSame(one, other) {
  return one.split("#")[0] === other.split("#")[0];
}
