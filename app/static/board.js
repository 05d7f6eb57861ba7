// Keeps the page that the server rendered live: reads /api/deployments, then follows /api/stream.

const tbody = document.querySelector("#deployments tbody");
const blank = document.querySelector("#row").content.firstElementChild;
const live = document.querySelector("#live");
const query = new URLSearchParams(location.search);

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exactTimes = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

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
  field("status").textContent = deployment.status.replace("_", " ");
  field("started_at").dateTime = deployment.started_at;
  if (deployment.finished_at) {
    field("took").textContent = duration(new Date(deployment.finished_at) - new Date(deployment.started_at));
  }
  return row;
}

function tick() {
  for (const time of document.querySelectorAll("time")) {
    const started = new Date(time.dateTime);
    time.textContent = ago(started);
    time.title = exactTimes.format(started);
    const row = time.closest("tr");
    if (row.dataset.status === "running") {
      row.querySelector('[data-field="took"]').textContent = duration(Date.now() - started);
    }
  }
}

function upsert(deployment) {
  const row = render(deployment);
  const known = tbody.querySelector(`[data-id="${deployment.id}"]`);
  if (known) {
    known.replaceWith(row);
  } else if (!query.has("before") && ["app", "host"].every((key) => (query.get(key) ?? deployment[key]) === deployment[key])) {
    document.querySelector(".notice")?.remove();
    tbody.prepend(row);
  } else {
    return;
  }
  row.classList.add("new");
  tick();
}

async function read() {
  const response = await fetch(`/api/deployments?${query}`);
  if (!response.ok) return;
  const { items, next } = await response.json();
  const older = document.querySelector("[rel=next]");
  if (older && next) older.search = new URLSearchParams([...query].filter(([key]) => key !== "before").concat([["before", next]]));
  if (items.length) document.querySelector(".notice")?.remove();
  tbody.replaceChildren(...items.map(render));
  tick();
}

function say(state, text) {
  live.hidden = false;
  live.dataset.state = state;
  live.textContent = text;
}

let attempts = 0;
function follow() {
  const socket = new WebSocket(new URL("/api/stream", location.href.replace(/^http/, "ws")));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "deployment") upsert(message.deployment);
    if (message.type === "hello") {
      // Sent whenever something may have been missed.
      attempts = 0;
      say("live", "Live");
      read();
    }
  };
  socket.onclose = () => {
    say("waiting", "Reconnecting…");
    // Not all viewers at once when a release is switched.
    setTimeout(follow, Math.min(1000 * 2 ** attempts++, 30000) * (0.5 + Math.random()));
  };
}

document.querySelector("#zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
tick();
setInterval(tick, 1000);
follow();
