// Keeps the page that the server rendered live: follows /api/stream from where the page was made.

const body = document.body;
const live = document.querySelector("#live");
const rows = () => document.querySelector("#deployments tbody"); // not always the same
const blank = document.querySelector("#row")?.content.firstElementChild;
const query = new URLSearchParams(location.search);
for (const [key, value] of [...query]) if (!value) query.delete(key); // a form's empty fields

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exactTimes = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const number = new Intl.NumberFormat("en");

function ago(date) {
  const seconds = (date - Date.now()) / 1000;
  if (seconds > -60) return relative.format(Math.round(Math.min(seconds, 0)), "second");
  if (seconds > -3600) return relative.format(Math.round(seconds / 60), "minute");
  if (seconds > -86400) return relative.format(Math.round(seconds / 3600), "hour");
  return times.format(date);
}

function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

function noticed(probe) {
  if (!probe) return "";
  const text = `${number.format(probe.failed)} of ${number.format(probe.requests)} failed`;
  return probe.p99_ms === null ? text : `${text}, p99 ${Number(probe.p99_ms.toPrecision(3))} ms`;
}

function render(deployment) {
  const row = blank.cloneNode(true);
  const field = (name) => row.querySelector(`[data-field="${name}"]`);
  row.dataset.id = deployment.id;
  row.dataset.status = deployment.status;
  for (const name of ["app", "host", "version", "release", "message"]) {
    field(name).textContent = deployment[name] ?? "";
  }
  for (const name of ["app", "host"]) {
    field(name).href = `/?${new URLSearchParams({ [name]: deployment[name] })}`;
  }
  field("link").href = `/deployments/${deployment.id}`;
  field("status").textContent = deployment.status.replace("_", " ");
  field("probe").textContent = noticed(deployment.probe);
  field("started_at").dateTime = deployment.started_at;
  if (deployment.finished_at) {
    field("took").textContent = duration(new Date(deployment.finished_at) - new Date(deployment.started_at));
  }
  return row;
}

function tick() {
  for (const time of document.querySelectorAll("time")) {
    const started = new Date(time.dateTime);
    const text = ago(started);
    if (time.textContent !== text) time.textContent = text;
    if (!time.title) time.title = exactTimes.format(started);
    const row = time.closest("tr");
    if (row?.dataset.status === "running") {
      row.querySelector('[data-field="took"]').textContent = duration(Date.now() - started);
    }
  }
}

function wanted(deployment) {
  return !query.has("before") && ["app", "host", "status", "release"].every((key) => (query.get(key) ?? deployment[key]) === deployment[key]);
}

// In the order of the log, whatever order changes come in.
function upsert(deployment) {
  const tbody = rows();
  const known = tbody.querySelector(`[data-id="${deployment.id}"]`);
  const focus = known?.contains(document.activeElement) ? document.activeElement.dataset.field : null;
  const row = render(deployment);
  if (known) {
    known.replaceWith(row);
    if (focus) row.querySelector(`[data-field="${focus}"]`)?.focus();
  } else if (wanted(deployment)) {
    document.querySelector(".notice")?.remove();
    const next = [...tbody.rows].find((each) => Number(each.dataset.id) < deployment.id);
    tbody.insertBefore(row, next ?? null);
  } else {
    return;
  }
  row.classList.add("new");
  tick();
}

// What is not a row is taken from the page as the server would make it now: not at each change, and not all viewers at once.
const stale = new Set();
function refresh(...selectors) {
  const waiting = stale.size > 0;
  for (const selector of selectors) stale.add(selector);
  if (!waiting) setTimeout(replace, 200 + Math.random() * 800);
}

async function replace() {
  const wanted = [...stale];
  stale.clear();
  const response = await fetch(location.href).catch(() => null);
  if (response && !response.ok && response.status < 500) return;
  const text = response?.ok ? await response.text().catch(() => null) : null;
  if (text === null) {
    setTimeout(refresh, 2000 + Math.random() * 3000, ...wanted); // it is stale until it has been replaced
    return;
  }
  const made = new DOMParser().parseFromString(text, "text/html");
  for (const selector of wanted) {
    const [here, there] = [document.querySelector(selector), made.querySelector(selector)];
    if (!here || !there || here.innerHTML === there.innerHTML) continue;
    if (here.contains(document.activeElement)) {
      // Somebody is about to follow a link in it.
      here.addEventListener("focusout", () => refresh(selector), { once: true });
      continue;
    }
    here.replaceWith(there);
  }
  tick();
}

function say(state, text) {
  live.hidden = false;
  if (live.dataset.state === state) return;
  live.dataset.state = state;
  live.textContent = text;
}

let last = body.dataset.last; // of what this page shows
function take(data) {
  const message = JSON.parse(data);
  if (message.type === "hello") {
    attempts = 0;
    say("live", "Live");
    if (!message.complete) refresh("#deployments tbody", "#serving", "#deployment");
  } else if (message.type === "deployment") {
    const { deployment } = message;
    if (rows()) {
      upsert(deployment);
      refresh("#serving");
    } else if (String(deployment.id) === body.dataset.deployment) {
      refresh("#deployment");
    }
  }
  if (message.last !== undefined) last = message.last;
}

let attempts = 0;
let sockets = true; // as long as they work
function again() {
  say("waiting", "Reconnecting…");
  // Not all viewers at once when a release is switched.
  setTimeout(follow, Math.min(1000 * 2 ** attempts++, 30000) * (0.5 + Math.random()));
}

function follow() {
  const address = new URL("/api/stream", location.href);
  if (last) address.searchParams.set("last", last);
  if (!sockets) {
    const source = new EventSource(address);
    source.onmessage = ({ data }) => take(data);
    source.onerror = () => {
      source.close();
      again();
    };
    return;
  }
  let opened = false;
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  socket.onopen = () => { opened = true; };
  socket.onmessage = ({ data }) => take(data);
  socket.onclose = () => {
    // Something in between doesn't let it through, perhaps: server-sent events are plain HTTP.
    if (!opened && attempts > 1) sockets = false;
    again();
  };
}

document.querySelector("#zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
tick();
setInterval(tick, 1000);
follow();
