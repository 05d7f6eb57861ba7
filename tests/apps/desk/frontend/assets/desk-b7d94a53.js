// Shows all tickets at /, and one of them at /tickets/<id>: paths that only the browser knows.
const desk = document.querySelector("#desk");

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function list() {
  const rows = (await ask("/api/tickets")).map(({ id, subject }) => {
    const link = element("a", subject);
    link.href = `/tickets/${id}`;
    const row = document.createElement("li");
    row.append(link);
    return row;
  });
  const all = document.createElement("ul");
  all.append(...rows);
  desk.replaceChildren(element("h1", "Tickets"), all);
}

async function one(id) {
  const { subject } = await ask(`/api/tickets/${id}`);
  desk.replaceChildren(element("h1", `Ticket ${id}`), element("p", subject));
}

const shown = location.pathname.match(/^\/tickets\/(\d+)$/);
(shown ? one(shown[1]) : list()).catch((error) => desk.replaceChildren(element("p", error.message)));
