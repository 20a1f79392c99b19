// The WebSocket: messages as they come, none missed after a break, and whether pages have to poll instead.

const FIRST_WAIT_MILLISECONDS = 1000;
const LONGEST_WAIT_MILLISECONDS = 30_000;
const SIGNED_OUT = 4401;

const listeners = new Map();
let socket = null;
let lastId = null;
let live = false;
let wait = FIRST_WAIT_MILLISECONDS;

export function isLive() {
  return live;
}

/** Call `listener` with each message of the type, or of every type for "*"; returns what ends it. */
export function onMessage(type, listener) {
  const those = listeners.get(type) ?? new Set();
  listeners.set(type, those.add(listener));
  connect();
  return () => those.delete(listener);
}

function connect() {
  if (socket || !document.documentElement.hasAttribute("data-signed-in")) return;
  const address = new URL("/api/ws", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  if (lastId !== null) address.searchParams.set("after", lastId);
  socket = new WebSocket(address);
  socket.addEventListener("open", () => {
    live = true;
    wait = FIRST_WAIT_MILLISECONDS;
  });
  socket.addEventListener("message", (event) => tell(JSON.parse(event.data)));
  socket.addEventListener("close", (event) => {
    socket = null;
    live = false;
    if (event.code === SIGNED_OUT) return;
    // Spread, so that all pages don't come back at once after a restart.
    setTimeout(connect, wait * (0.5 + Math.random()));
    wait = Math.min(wait * 2, LONGEST_WAIT_MILLISECONDS);
  });
}

function tell(message) {
  if (message.id !== undefined) lastId = message.id;
  for (const type of [message.type, "*"]) {
    for (const listener of listeners.get(type) ?? []) listener(message);
  }
}
