// The page's own address: while a drawer is open, the browser shows that of what is in it.

let behind = null;

export function pageAddress() {
  return behind ?? location.href;
}

/** Show another address as long as the drawer is open. */
export function standIn(address) {
  behind ??= location.href;
  history.replaceState(history.state, "", address);
}

/** Show the page's own address again. */
export function comeBack() {
  if (behind) history.replaceState(history.state, "", behind);
  behind = null;
}

/** The browser went elsewhere by itself: what it shows is the page's own address now. */
export function forget() {
  behind = null;
}
