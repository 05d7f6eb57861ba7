"""The entry of one application, in the words of the inventory: what was found, why, and what is left to fill in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml
from slipway_build.lock import LOCKS
from slipway_build.target import MINORS, fits, specifiers

from appraise.code import Code, Module, module_name
from appraise.source import dependencies, dotenv, found, in_git, prepared, read, required_python

# The Python of each Debian that a host may have: 3.<N>.
DEBIAN = {"12": 11, "13": 13}
# Files that show the settings of an application, the likeliest first.
SAMPLES = (".env.example", ".env.sample", ".env.template", ".env.dist", "env.example", ".env")

# Drivers of PostgreSQL, with what SQLAlchemy adds to the scheme for them; and what is used on top of one.
DRIVERS = {"psycopg": "+psycopg", "asyncpg": "+asyncpg", "psycopg2": "", "psycopg2-binary": ""}
MAPPERS = ("sqlalchemy", "sqlmodel", "tortoise-orm", "databases", "ormar", "piccolo", "peewee")
# The names by which applications know their database: of its URL, and of the parts of one.
DATABASE_URL = re.compile(
    r"(?!.*TEST)(.*_)?(DATABASE|DB|POSTGRES(QL)?|PG|SQLALCHEMY)_?(URL|URI|DSN)"
)
DATABASE_PART = re.compile(
    r"(?!.*TEST)(?:.*_)?(?:DATABASE|DB|POSTGRES(?:QL)?|PG)_?"
    r"(?:(?P<host>SERVER|HOST|HOSTNAME)|(?P<port>PORT)|(?P<user>USER|USERNAME)"
    r"|(?P<password>PASSWORD|PASS|PWD)|(?P<name>DB|NAME|DATABASE))"
)
STAGE = re.compile(r"(APP_|FASTAPI_)?ENV(IRONMENT)?")
SECRET = re.compile(
    r".*(SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|TOKEN|APIKEY)|(.*_)?(?<!PUBLIC_)(KEY|PASS|PWD|DSN|SALT)"
)
# What a sample says that can't be so on a host.
UNTRUE = re.compile(
    r"localhost|127\.0\.0\.1|example\.(com|org|net)|change.?(this|me|it)|\byour\b|<.*>|\$\{|\{\{|\{%|^xxx",
    re.IGNORECASE,
)
# The last part of a path that tells whether the application can serve, the best first, without - and _.
HEALTH = (
    *("readyz", "ready", "readiness", "healthz", "health", "healthcheck", "livez", "up", "ping"),
    "status",
)
# A package for work in the background, what its object or class is, and what starts its worker.
WORKERS = (
    ("celery", "Celery", "celery -A {object} worker"),
    ("arq", "WorkerSettings", "arq {dotted}"),
    ("taskiq", r"\w*Broker", "taskiq worker {object}"),
    ("dramatiq", r"\w*Broker", "dramatiq {module}"),
    ("rq", "Queue", "rq worker"),
)


@dataclass
class Entry:
    """What `make new` writes for one application.

    Args:
        app: Its name.
        source: Its source, as the inventory names it.
        root: The folder with that source, at hand.
        branch: The branch that was looked at, of a git repository elsewhere.
        domain: Its host name, if that is known.
    """

    app: str
    source: str
    root: Path
    branch: str = ""
    domain: str = ""
    unfilled: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    locked: bool = True

    def lines(self) -> list[str]:
        """Return the entry, a text for each line."""
        return [
            line(f"{self.app}:", "every key is in roles/fastapi_app/README.md"),
            *indented(
                [
                    f"source: {scalar(self.source)}",
                    *self.version(),
                    *self.within(),
                    *self.lock(),
                    *self.python(),
                    *self.module(),
                    *self.domains(),
                    *self.database(),
                    *self.health(),
                    *self.static(),
                    *self.frontend(),
                    *self.shared(),
                    *self.environment(),
                    *self.services(),
                ]
            ),
        ]

    # How a line is said

    def fill_in(self, key: str, nothing: str, hint: str) -> str:
        """Return the line of a key that is to be filled in."""
        self.unfilled.append(key)
        return line(f"{key.rpartition('.')[2]}: {nothing}".rstrip(), f"fill in: {hint}")

    def secret(self, name: str) -> str:
        """Return the reference to a variable of the vault."""
        variable = re.sub(r"\W", "_", f"vault_{self.app}_{name}").lower()
        self.secrets.append(variable)
        return f'"{{{{ {variable} }}}}"'

    def shown(self, path: Path) -> str:
        """Return a path as it is in the source."""
        return str(path.relative_to(self.root))

    # Where its code is

    @cached_property
    def applications(self) -> list[tuple[Module, str]]:
        """What the source has to serve, the likeliest first: that is what a Dockerfile or a Procfile starts."""
        started: set[str] = set()
        for path in found(self.root, "Dockerfile*", "Procfile", "*compose*.y*ml", "pyproject.toml"):
            started |= set(re.findall(r"\b[A-Za-z_][\w.]*:[A-Za-z_]\w*\b", read(path)))

        def unstarted(one: tuple[Module, str]) -> bool:
            spelled = f".{one[0].name}:{one[1].removesuffix('()')}"
            return not any(spelled.endswith(f".{name}") for name in started)

        return sorted(Code(self.root).applications, key=unstarted)

    @cached_property
    def folder(self) -> Path:
        """The application's folder: the nearest above its module that depends on FastAPI, or on anything."""
        if self.applications:
            above = self.applications[0][0].path.relative_to(self.root).parents
            folders = [self.root / parent for parent in above]
        else:
            files = found(self.root, "pyproject.toml", "requirements*.txt", "Pipfile")
            folders = [path.parent for path in files if "fastapi" in dependencies(path.parent)]
        folders = [one for one in folders if not (one / "__init__.py").exists()]
        with_fastapi = [one for one in folders if "fastapi" in dependencies(one)]
        return next(iter(with_fastapi or filter(dependencies, folders)), self.root)

    @cached_property
    def above(self) -> list[Path]:
        """That folder, and those above it in the source."""
        return [
            self.folder,
            *(self.root / one for one in self.folder.relative_to(self.root).parents),
        ]

    @cached_property
    def code(self) -> Code:
        """The code in that folder."""
        return Code(self.folder)

    @cached_property
    def packages(self) -> set[str]:
        """What it depends on."""
        return dependencies(self.folder)

    def version(self) -> list[str]:
        """Return the lines of ``version``; each of the following those of its key."""
        why = "guessed: its default branch; a tag or a commit would stay what it is"
        return [line(f"version: {scalar(self.branch)}", why)] if self.branch else []

    def within(self) -> list[str]:
        if self.folder == self.root:
            return []
        why = "guessed: the dependencies and the FastAPI() are there"
        return [line(f"folder: {self.shown(self.folder)}", why)]

    def lock(self) -> list[str]:
        for folder in self.above:
            for name in LOCKS:
                text = read(folder / name)
                if text and (name != "requirements.txt" or "--hash" in text):
                    return [f"# lock: {self.shown(folder / name)}, which is found without saying"]
        self.locked = False
        return [f"# lock: none with hashes; 'make lock APP={self.app}' writes locks/{self.app}.txt"]

    def python(self) -> list[str]:
        asked = required_python(self.folder)
        wanted = specifiers(asked)
        lacking = [debian for debian, minor in DEBIAN.items() if not fits(minor, wanted)]
        if not lacking:
            return []
        # The nearest to Debian's newest, rather newer than older.
        near = sorted(MINORS, key=lambda minor: (minor < DEBIAN["13"], abs(minor - DEBIAN["13"])))
        minor = next((minor for minor in near if fits(minor, wanted)), None)
        if minor is None:
            return [self.fill_in("python", "", f"it asks for {asked}")]
        why = f"guessed: it asks for {asked}, and there is none in Debian {listing(lacking)}"
        unset = "# " if len(lacking) < len(DEBIAN) else ""
        return [line(f'{unset}python: "3.{minor}"', why)]

    def module(self) -> list[str]:
        if not self.applications:
            return [
                self.fill_in(
                    "module", "", "no FastAPI() was found; its place, such as app.main:app"
                )
            ]
        spelled = [
            f"{module_name(one.path, self.folder)}:{name}" for one, name in self.applications
        ]
        if others := spelled[1:]:
            return [line(f"module: {spelled[0]}", f"guessed: rather than {listing(others)}")]
        what = "function that returns a FastAPI()" if "()" in spelled[0] else "FastAPI()"
        return [line(f"module: {spelled[0]}", f"guessed: the only {what} in the source")]

    def domains(self) -> list[str]:
        if self.domain:
            return [line(f"domains: [{self.domain}]", "guessed: like those of its neighbours")]
        hint = f"the names that lead to the host, such as [{self.app}.example.org]"
        return [self.fill_in("domains", "[]", hint)]

    # What it reads

    @cached_property
    def sample(self) -> Path | None:
        """The file that shows its settings. A .env is one if git has it, so that there is no secret in it any more."""
        paths = [folder / name for folder in self.above for name in SAMPLES]
        return next(
            (path for path in paths if path.is_file() and (path.name != ".env" or in_git(path))),
            None,
        )

    @cached_property
    def samples(self) -> dict[str, str]:
        """The values that it shows, of the variables that the code reads."""
        said = dotenv(read(self.sample)) if self.sample else {}
        known = {name.upper() for name in self.code.settings} | self.code.words
        return {name: value for name, value in said.items() if name.upper() in known}

    @cached_property
    def variables(self) -> list[str]:
        """The variables that the code reads, as far as is known."""
        names = dict.fromkeys([*self.samples, *self.code.settings])
        return [name for name in names if not name.startswith("SLIPWAY_")]

    @cached_property
    def driver(self) -> str:
        """The driver of PostgreSQL that it depends on, if it does on one."""
        return next((name for name in DRIVERS if name in self.packages), "")

    @cached_property
    def facts(self) -> dict[str, str]:
        """The variables that tell it of its database, each with what it tells: ``url``, ``host``, ``password``."""
        if not self.driver:
            return {}
        named = {}
        for name in self.variables:
            if part := DATABASE_PART.fullmatch(name.upper()):
                named[name] = str(part.lastgroup)
            elif DATABASE_URL.fullmatch(name.upper()):
                named[name] = "url"
        return named

    def scheme(self, name: str) -> str:
        """Return the scheme that a variable's URL has: as it is shown, or as its driver wants it."""
        setting = self.code.settings.get(name)
        for shown in (self.samples.get(name, ""), setting.default if setting else ""):
            if match := re.match(r"(postgres[a-z0-9+]*)://", str(shown)):
                return match[1]
        if self.code.imported & {"sqlalchemy", "sqlmodel"}:
            return f"postgresql{DRIVERS[self.driver]}"
        return "postgres" if "tortoise" in self.code.imported else "postgresql"

    def database(self) -> list[str]:
        used = [name for name in (self.driver, *MAPPERS) if name in self.packages]
        why = f"guessed: {listing(used)} among its dependencies"
        if not self.driver:
            if not used or any("sqlite" in word.lower() for word in self.code.words):
                return []
            return [
                line(
                    f"# database: {{name: {self.app}}}", f"{why}, but no known driver of PostgreSQL"
                )
            ]
        lines = [line("database:", why), f"  name: {self.app}"]
        passwords = [name for name, part in self.facts.items() if part == "password"]
        strict = "POSTGRESDSN" in self.code.words or "tortoise" in self.code.imported
        tcp = bool(passwords) or strict
        if tcp:
            wants = f"it reads {listing(passwords)}" if passwords else "its URL must have a host"
            lines.append(line("  via: tcp", f"guessed: {wants}"))
            lines.append(f"  password: {self.secret('database_password')}")
        if not self.facts:
            lines.append(line('  env: {DATABASE_URL: "{url}"}', "guessed: no such name was found"))
            return [*lines, *self.migrate()]
        lines.append(line("  env:", "guessed: by their names"))
        url = "{user}:{password}@{host}:{port}/{name}" if tcp else "{user}@/{name}?host={host}"
        for name, part in self.facts.items():
            scheme = self.scheme(name)
            plain = part != "url" or scheme == "postgresql"
            lines.append(
                f'    {name}: "{{{part}}}"' if plain else f'    {name}: "{scheme}://{url}"'
            )
        return [*lines, *self.migrate()]

    def migrate(self) -> list[str]:
        for path in found(self.folder, "prestart*.sh", "Procfile"):
            if commands := prepared(read(path), self.folder):
                why = f"guessed: what {self.shown(path)} runs"
                return [line("migrate:", why), *indented(commands)]
        for path in found(self.folder, "alembic.ini", depth=2):
            config = f"-c {path.relative_to(self.folder)} " if path.parent != self.folder else ""
            return [line(f"migrate: alembic {config}upgrade head", f"guessed: {self.shown(path)}")]
        if "aerich" in self.packages:
            return [line("migrate: aerich upgrade", "guessed: aerich among its dependencies")]
        if "CREATE_ALL" in self.code.words:
            hint = (
                "it makes its tables by create_all(), which only the owner may: a command for that"
            )
            return [self.fill_in("migrate", "", hint)]
        return []

    # Where it answers

    def health(self) -> list[str]:
        got = [route for route in self.code.routes if route.verb == "get"]
        for name in HEALTH:
            for route in got:
                if re.sub(r"[-_]", "", route.path.strip("/").rpartition("/")[2]) == name:
                    return [line(f"health: {route.path}", f"guessed: in {self.shown(route.where)}")]
        if any(route.path == "/" for route in got):
            return [line("health: /", "guessed: there is that route, and none named after health")]
        return [self.fill_in("health", "", "a path that answers 200 to anybody when it can serve")]

    def static(self) -> list[str]:
        top = self.folder.resolve()
        for url, parts, where in self.code.static:
            for base in (self.folder, where.parent, where.parent.parent):
                folder = base.joinpath(*parts).resolve()
                inside = folder.is_dir() and folder.is_relative_to(top) and folder != top
                if inside and re.fullmatch(r"(/[\w.~-]+)+/?", url):
                    url = f"{url.rstrip('/')}/"
                    given = f"path: {scalar(str(folder.relative_to(top)))}"
                    given = given if url == "/static/" else f"url: {url}, {given}"
                    why = f"guessed: StaticFiles in {self.shown(where)}"
                    return [line(f"static: {{{given}}}", why)]
        return []

    def frontend(self) -> list[str]:
        for path in found(self.root, "package.json", depth=2):
            try:
                said = json.loads(read(path))
            except json.JSONDecodeError:
                continue
            if "build" not in said.get("scripts", {}):
                continue
            tools = {**said.get("dependencies", {}), **said.get("devDependencies", {})}
            built = path.parent / ("build" if "react-scripts" in tools else "dist")
            below = {route.path.split("/")[1] for route in self.code.routes}
            api = ", ".join(f"/{first}/" for first in sorted(below - {""}))
            given = "" if api in ("", "/api/") else f", api: [{api}]"
            text = f"frontend: {{path: {scalar(self.shown(built))}{given}}}"
            how = f"'npm ci && npm run build' in {self.shown(path.parent)}/"
            if self.branch:  # it isn't in there: where it is on this machine only a person knows
                return [line(f"# {text}", f"guessed: where {how} has put it on this machine")]
            return [line(text, f"guessed: what {how} makes")]
        return []

    def shared(self) -> list[str]:
        if "UPLOADS" not in self.code.texts:
            return []
        return [
            line(
                "shared: [uploads]",
                "guessed: a folder that it names; it would not outlive releases",
            )
        ]

    # What it is told

    def environment(self) -> list[str]:
        env, secrets = [], []
        for name in self.variables:
            if name in self.facts or not self.wanted(name):
                continue
            if self.is_secret(name):
                secrets.append(f"{name}: {self.secret(name)}")
            else:
                env.append(self.variable(name))
        why = f"guessed: from {self.shown(self.sample)}" if self.sample else ""
        return [
            *([line("env:", why), *indented(env)] if env else []),
            *([line("secrets:", "guessed: by their names"), *indented(secrets)] if secrets else []),
        ]

    def is_secret(self, name: str) -> bool:
        """Tell whether a variable is none that others may read."""
        within = re.search(r"://[^/@]*:[^/@]+@", self.samples.get(name, ""))
        return bool(SECRET.fullmatch(name.upper()) or within)

    def wanted(self, name: str) -> bool:
        """Tell whether a variable has to be given: it is shown with a value, or the code has none of its own."""
        setting = self.code.settings.get(name.upper(), self.code.settings.get(name))
        if self.samples.get(name) or setting is None or setting.required:
            return True
        return setting.made and self.is_secret(name)

    def variable(self, name: str) -> str:
        """Return the line of a variable that is no secret."""
        sample = self.samples.get(name, "")
        said = (
            f"{self.sample.name} has {sample}" if self.sample and sample else "no value was found"
        )
        if STAGE.fullmatch(name.upper()) and "PRODUCTION" in self.code.words:
            return line(f"{name}: production", f"guessed: {said}")
        if name.upper() in ("DEBUG", "RELOAD"):
            return line(f'{name}: "false"', f"guessed: {said}")
        if sample.startswith("sqlite"):
            file = sample.rpartition("/")[2] or f"{self.app}.db"
            url = f"{sample.partition(':')[0]}:////srv/{self.app}/shared/{file}"
            return line(f"{name}: {scalar(url)}", "guessed: the folder that outlives releases")
        if not sample or UNTRUE.search(sample):
            return self.fill_in(f"env.{name}", "", said)
        return f"{name}: {scalar(sample)}"

    def services(self) -> list[str]:
        for package, kind, command in WORKERS:
            if package not in self.packages:
                continue
            places = [
                f"{module.name}:{name}"
                for module, name, of in self.code.objects
                if re.fullmatch(kind, of)
            ]
            place = places[0] if places else "<package.module>"
            run = command.format(
                object=place, dotted=place.replace(":", "."), module=place.partition(":")[0]
            )
            why = f"guessed: {package} among its dependencies; what it talks to, such as Redis, isn't set up"
            return [line("# services:", why), f"#   - {{name: worker, run: {scalar(run)}}}"]
        return []


def line(text: str, note: str = "") -> str:
    """Return a line with what there is to say of it."""
    return f"{text} # {note}" if note else text


def indented(lines: list[str], by: str = "  ") -> list[str]:
    """Return lines a step further in."""
    return [by + one for one in lines]


def listing(words: list[str]) -> str:
    """Return words as one lists them: a, b and c."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def scalar(text: str) -> str:
    """Return a text as YAML that is read as just that text, or as that number, also within braces."""
    plain = re.fullmatch(r"[\w./~][\w./~ +@:-]*(?<![: ])", text)
    if plain and (text.isdecimal() or yaml.safe_load(f"[{text}]") == [text]):
        return text
    return json.dumps(text, ensure_ascii=False)
