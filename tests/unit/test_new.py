"""`make new` finds out of a source what it says, writes it as an entry that a run accepts, and touches nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from appraise.entry import Entry, scalar
from appraise.inventory import inserted
from appraise.source import dotenv

ROOT = Path(__file__).resolve().parents[2]

Files = dict[str, str]

# The essentials of FastAPI's full-stack template: a uv workspace, an API below a prefix from the settings, a
# database in parts, a front end beside it, and a .env that is in the repository.
FULL_STACK: Files = {
    "pyproject.toml": '[tool.uv.workspace]\nmembers = ["backend"]\n',
    "uv.lock": "version = 1\n",
    "compose.yml": "services:\n  backend:\n    image: backend:latest\n",
    ".env": """\
# Domain
DOMAIN=localhost
# DOMAIN=localhost.example.org
FRONTEND_HOST=http://localhost:5173
# Environment: local, staging, production
ENVIRONMENT=local
PROJECT_NAME="Full Stack FastAPI Project"
STACK_NAME=full-stack-fastapi-project
BACKEND_CORS_ORIGINS="http://localhost,http://localhost:5173"
SECRET_KEY=changethis
FIRST_SUPERUSER=admin@example.com
FIRST_SUPERUSER_PASSWORD=changethis
SMTP_HOST=
SMTP_PASSWORD=
SMTP_TLS=True
SMTP_PORT=587
POSTGRES_SERVER=localhost
POSTGRES_PORT=5432
POSTGRES_DB=app
POSTGRES_USER=postgres
POSTGRES_PASSWORD=changethis
SENTRY_DSN=
DOCKER_IMAGE_BACKEND=backend
""",
    "frontend/package.json": '{"scripts": {"build": "tsc && vite build"}, "devDependencies": {"vite": "7"}}',
    "backend/pyproject.toml": """\
[project]
name = "app"
version = "0.1.0"
requires-python = ">=3.10,<4.0"
dependencies = [
    "fastapi[standard]<1.0.0,>=0.114.2",
    "alembic<2.0.0,>=1.12.1",
    "psycopg[binary]<4.0.0,>=3.1.13",
    "sqlmodel<1.0.0,>=0.0.21",
    "pydantic-settings<3.0.0,>=2.2.1",
]
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
""",
    "backend/alembic.ini": "",
    "backend/scripts/prestart.sh": """\
#!/bin/sh
set -e
# Let the DB start
python app/backend_pre_start.py
# Run migrations
alembic upgrade head
# Create initial data in DB
python app/initial_data.py
""",
    "backend/tests/conftest.py": "app = FastAPI()\n",
    "backend/app/__init__.py": "",
    "backend/app/backend_pre_start.py": "",
    "backend/app/initial_data.py": "",
    "backend/app/main.py": """\
from fastapi import FastAPI
from app.api.main import api_router
from app.core.config import settings

app = FastAPI(title=settings.PROJECT_NAME, openapi_url=f"{settings.API_V1_STR}/openapi.json")
app.include_router(api_router, prefix=settings.API_V1_STR)
""",
    "backend/app/api/__init__.py": "",
    "backend/app/api/main.py": """\
from fastapi import APIRouter
from app.api.routes import items, utils

api_router = APIRouter()
api_router.include_router(items.router)
api_router.include_router(utils.router)
""",
    "backend/app/api/routes/__init__.py": "",
    "backend/app/api/routes/items.py": """\
from fastapi import APIRouter
router = APIRouter(prefix="/items", tags=["items"])
@router.get("/")
def read_items(): ...
@router.get("/{id}")
def read_item(id): ...
""",
    "backend/app/api/routes/utils.py": """\
from fastapi import APIRouter
router = APIRouter(prefix="/utils", tags=["utils"])
@router.get("/health-check/")
async def health_check() -> bool:
    return True
""",
    "backend/app/core/__init__.py": "",
    "backend/app/core/config.py": """\
import secrets
from typing import Literal
from pydantic import HttpUrl, PostgresDsn, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict

class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_file="../.env", extra="ignore")
    API_V1_STR: str = "/api/v1"
    SECRET_KEY: str = secrets.token_urlsafe(32)
    ACCESS_TOKEN_EXPIRE_MINUTES: int = 60 * 24 * 8
    FRONTEND_HOST: str = "http://localhost:5173"
    ENVIRONMENT: Literal["local", "staging", "production"] = "local"
    BACKEND_CORS_ORIGINS: list[str] | str = []
    PROJECT_NAME: str
    SENTRY_DSN: HttpUrl | None = None
    POSTGRES_SERVER: str
    POSTGRES_PORT: int = 5432
    POSTGRES_USER: str
    POSTGRES_PASSWORD: str = ""
    POSTGRES_DB: str = ""

    @computed_field
    @property
    def SQLALCHEMY_DATABASE_URI(self) -> PostgresDsn:
        return PostgresDsn.build(scheme="postgresql+psycopg", host=self.POSTGRES_SERVER)

    SMTP_TLS: bool = True
    SMTP_PORT: int = 587
    SMTP_HOST: str | None = None
    SMTP_PASSWORD: str | None = None
    FIRST_SUPERUSER: str
    FIRST_SUPERUSER_PASSWORD: str

settings = Settings()
""",
}
FULL_STACK_ENTRY = """\
shop: # every key is in roles/fastapi_app/README.md
  source: full
  folder: backend # guessed: the dependencies and the FastAPI() are there
  # lock: uv.lock, which is found without saying
  module: app.main:app # guessed: the only FastAPI() in the source
  domains: [] # fill in: the names that lead to the host, such as [shop.example.org]
  database: # guessed: psycopg and sqlmodel among its dependencies
    name: shop
    via: tcp # guessed: it reads POSTGRES_PASSWORD
    password: "{{ vault_shop_database_password }}"
    env: # guessed: by their names
      POSTGRES_SERVER: "{host}"
      POSTGRES_PORT: "{port}"
      POSTGRES_DB: "{name}"
      POSTGRES_USER: "{user}"
      POSTGRES_PASSWORD: "{password}"
  migrate: # guessed: what backend/scripts/prestart.sh runs
    - {run: python app/backend_pre_start.py, as: app}
    - alembic upgrade head
    - {run: python app/initial_data.py, as: app}
  health: /api/v1/utils/health-check/ # guessed: in backend/app/api/routes/utils.py
  frontend: {path: frontend/dist} # guessed: what 'npm ci && npm run build' in frontend/ makes
  env: # guessed: from .env
    FRONTEND_HOST: # fill in: .env has http://localhost:5173
    ENVIRONMENT: production # guessed: .env has local
    PROJECT_NAME: Full Stack FastAPI Project
    BACKEND_CORS_ORIGINS: # fill in: .env has http://localhost,http://localhost:5173
    FIRST_SUPERUSER: # fill in: .env has admin@example.com
    SMTP_TLS: "True"
    SMTP_PORT: 587
  secrets: # guessed: by their names
    SECRET_KEY: "{{ vault_shop_secret_key }}"
    FIRST_SUPERUSER_PASSWORD: "{{ vault_shop_first_superuser_password }}"
"""


def put(folder: Path, files: Files) -> Path:
    """Write files into a folder, and return it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def commit(folder: Path) -> Path:
    """Make a git repository of a folder, and return it."""
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
    for command in (
        ["init", "--quiet", "--initial-branch=trunk"],
        ["add", "."],
        ["commit", "-qm", "x"],
    ):
        subprocess.run([*git, *command], cwd=folder, check=True)
    return folder


def filled(lines: list[str]) -> dict[str, Any]:
    """Return the entry that lines say, with something in each place that is to be filled in."""
    text = "\n".join(lines).replace("domains: []", "domains: [shop.example.org]")
    for key, value in {
        "module": "shop:app",
        "health": "/up",
        "migrate": "make",
        r"\w+": "x",
    }.items():
        text = re.sub(rf"^( *{key}:) # fill in", rf"\1 {value} # fill in", text, flags=re.MULTILINE)
    assert not re.search(r": +# fill in", text)
    said: dict[str, Any] = yaml.safe_load(text.replace("{{ vault_", "{{ a_secret_of_some_length_"))
    return said


@pytest.fixture
def appraised(tmp_path: Path, filters: ModuleType) -> Callable[[Files], str]:
    """Return what writes files as a source, and returns its entry, which a run accepts once it is filled in."""

    def appraise(files: Files) -> str:
        entry = Entry("shop", "full", put(tmp_path / "full", files))
        lines = entry.lines()
        assert filters.app_errors(filled(lines)) == []
        marked = sum("fill in" in line for line in lines)
        assert len(entry.unfilled) == marked
        return "".join(f"{line}\n" for line in lines)

    return appraise


def test_the_full_stack_template_comes_out_right(
    tmp_path: Path, appraised: Callable[[Files], str]
) -> None:
    put(tmp_path / "full", FULL_STACK)
    commit(tmp_path / "full")
    assert appraised(FULL_STACK) == FULL_STACK_ENTRY


def test_a_file_with_secrets_is_not_read(appraised: Callable[[Files], str]) -> None:
    said = appraised(FULL_STACK)  # git doesn't have its .env
    assert "env has" not in said and "587" not in said
    assert "PROJECT_NAME: # fill in: no value was found" in said
    assert 'SECRET_KEY: "{{ vault_shop_secret_key }}"' in said


MAIN = "from fastapi import FastAPI\napp = FastAPI()\n"


def source(requires: str = "fastapi", code: str = "", **more: str) -> Files:
    """Return the files of a small application: its requirements, further code, and files by name with __ for a dot."""
    named = {name if "." in name else name.replace("__", "."): text for name, text in more.items()}
    return {"requirements.txt": requires.replace(" ", "\n"), "main.py": MAIN + code, **named}


HEALTH = '@app.get("/{}")\ndef health(): ...\n'


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        # What is served
        (source(), "module: main:app # guessed: the only FastAPI() in the source\n"),
        (
            source(
                main__py="import fastapi\ndef make(debug=False):\n    api = fastapi.FastAPI()\n    return api\n"
            ),
            "module: main:make() # guessed: the only function that returns a FastAPI() in the source\n",
        ),
        (
            source(
                main__py="from fastapi import FastAPI\ndef make(debug):\n    return FastAPI()\n"
            ),
            "module: # fill in: no FastAPI() was found",
        ),
        (
            source(
                main__py="from factory import make\napp = make()\n",
                factory__py="def make():\n    return FastAPI()\n",
            ),
            "module: main:app # guessed: the only FastAPI()",
        ),
        (source(other__py=MAIN), "module: main:app # guessed: rather than other:app\n"),
        (
            source(other__py=MAIN, Dockerfile="CMD uvicorn other:app\n"),
            "module: other:app # guessed: rather",
        ),
        (
            source(code="admin = FastAPI()\napp.mount('/admin', admin)\n"),
            "module: main:app # guessed: the only",
        ),
        (
            source(main__py="type Name = str\nclass A[T]: ...\n" + MAIN),
            "module: main:app # guessed: the only",
        ),
        # Where it is
        (
            {
                "api/pyproject.toml": '[project]\ndependencies = ["fastapi"]',
                "api/src/shop/web.py": MAIN,
            },
            "folder: api #",
        ),
        (
            {
                "api/pyproject.toml": '[project]\ndependencies = ["fastapi"]',
                "api/src/shop/web.py": MAIN,
            },
            "shop.web:app #",
        ),
        (
            {
                "api/pyproject.toml": '[tool.poetry.dependencies]\nfastapi = "^0.110"',
                "api/main.py": MAIN,
            },
            "folder: api #",
        ),
        # A package with requirements of its own is run from the folder above.
        (
            {
                "requirements.txt": "fastapi",
                "app/__init__.py": "",
                "app/main.py": MAIN,
                "app/requirements.txt": "fastapi",
            },
            "module: app.main:app",
        ),
        # How it is locked
        (source(), "# lock: none with hashes; 'make lock APP=shop' writes locks/shop.txt\n"),
        (
            source("fastapi==1 --hash=sha256:0"),
            "# lock: requirements.txt, which is found without saying\n",
        ),
        (source(poetry__lock="[[package]]"), "# lock: poetry.lock, which"),
        # Its Python
        (
            source(pyproject__toml='[project]\nrequires-python = ">=3.14"'),
            'python: "3.14" # guessed: it asks for >=3.14, and there is none in Debian 12 and 13\n',
        ),
        (
            source(pyproject__toml='[project]\nrequires-python = "<3.11"'),
            'python: "3.10" # guessed',
        ),
        (
            source(pyproject__toml='[project]\nrequires-python = ">=3.12"'),
            '# python: "3.13" # guessed: it asks for >=3.12, and there is none in Debian 12\n',
        ),
        (
            source(pyproject__toml='[tool.poetry.dependencies]\npython = "^3.14"'),
            'python: "3.14" #',
        ),
        # Its database
        (
            source("fastapi asyncpg"),
            'env: {DATABASE_URL: "{url}"} # guessed: no such name was found\n',
        ),
        (source("fastapi asyncpg", "import os\nos.environ['DB_DSN']\n"), 'DB_DSN: "{url}"\n'),
        (
            source(
                "fastapi asyncpg sqlalchemy", "import os, sqlalchemy\nos.getenv('DATABASE_URL')\n"
            ),
            'DATABASE_URL: "postgresql+asyncpg://{user}@/{name}?host={host}"\n',
        ),
        (
            source("fastapi psycopg[binary] sqlalchemy", "import os\nos.getenv('DATABASE_URL')\n"),
            'DATABASE_URL: "{url}"\n',  # sqlalchemy is there for alembic alone
        ),
        (
            source(
                "fastapi psycopg[binary]",
                "import os\nfrom pydantic import PostgresDsn\nos.getenv('DATABASE_URL')\n",
                **{".env.example": "DATABASE_URL=postgresql+psycopg://app:app@db/app\n"},
            ),
            'DATABASE_URL: "postgresql+psycopg://{user}:{password}@{host}:{port}/{name}"\n',
        ),
        (
            source(
                "fastapi psycopg2-binary",
                "import os\nos.getenv('TEST_DATABASE_URL'), os.getenv('SQLALCHEMY_DATABASE_URI')\n",
            ),
            'env: # guessed: by their names\n      SQLALCHEMY_DATABASE_URI: "{url}"\n  health',
        ),
        (
            source("fastapi piccolo"),
            "# database: {name: shop} # guessed: piccolo among its dependencies, but no known",
        ),
        (
            source(
                "fastapi psycopg", "import os\nos.getenv('DB_HOST'), os.getenv('DB_PASSWORD')\n"
            ),
            "via: tcp # guessed: it reads DB_PASSWORD\n",
        ),
        # What prepares it
        (
            source("fastapi psycopg", alembic__ini=""),
            "migrate: alembic upgrade head # guessed: alembic.ini\n",
        ),
        (
            source("fastapi psycopg", **{"db/alembic.ini": ""}),
            "migrate: alembic -c db/alembic.ini upgrade head #",
        ),
        (
            source("fastapi psycopg", Procfile="release: python -m seed\n"),
            "- {run: python -m seed, as: app}\n",
        ),
        (
            source("fastapi psycopg", "Base.metadata.create_all(engine)\n"),
            "migrate: # fill in: it makes its tables",
        ),
        # Its health
        (source(code=HEALTH.format("up")), "health: /up # guessed: in main.py\n"),
        (source(code=HEALTH.format("health") + HEALTH.format("ready")), "health: /ready # guessed"),
        (
            source(code=HEALTH.format("")),
            "health: / # guessed: there is that route, and none named after health\n",
        ),
        (source(code=HEALTH.format("{item}/health")), "health: # fill in: a path that answers 200"),
        (
            source(
                code="from web import a, b\nP = '/a'\nfor r in (a, b):\n    app.include_router(r, prefix=P)\n",
                **{
                    "web/__init__.py": "from .parts import a, b\n",
                    "web/parts.py": "a = APIRouter()\nb = APIRouter(prefix='/b')\n"
                    + HEALTH.format("c/healthz").replace("@app", "@b"),
                },
            ),
            "health: /a/b/c/healthz # guessed: in web/parts.py\n",
        ),
        # Its files
        (
            source(
                code="app.mount('/assets', StaticFiles(directory=BASE / 'web' / 'files'))\n",
                **{"web/files/x.css": ""},
            ),
            "static: {url: /assets/, path: web/files} # guessed: StaticFiles in main.py\n",
        ),
        (
            source(
                code="app.mount('/static', StaticFiles(directory='static'))\n", **{"static/x": ""}
            ),
            "static: {path: static} #",
        ),
        (
            source(
                code=HEALTH.format("users/up"),
                **{
                    "ui/package.json": '{"scripts": {"build": "x"}, "dependencies": {"react-scripts": "5"}}'
                },
            ),
            "frontend: {path: ui/build, api: [/users/]} # guessed",
        ),
        (
            source(code="UPLOADS = Path('uploads')\n"),
            "shared: [uploads] # guessed: a folder that it names",
        ),
        # Its settings
        (
            source(
                "fastapi",
                "class S(BaseSettings):\n    model_config = {'env_prefix': 'X_'}\n    mail: str\n    page: int = 3\n",
            ),
            "env:\n    X_MAIL: # fill in: no value was found\n",
        ),
        (
            source(
                code="import os\nos.getenv('PAGE'), os.getenv('DEBUG'), os.getenv('REDIS_URL')\n",
                **{
                    ".env.example": "PAGE='a: b' # c\nDEBUG=1\nREDIS_URL=redis://:pw@r/\nVITE_X=1\n"
                },
            ),
            'env: # guessed: from .env.example\n    PAGE: "a: b"\n    DEBUG: "false" # guessed: .env.example has 1\n'
            '  secrets: # guessed: by their names\n    REDIS_URL: "{{ vault_shop_redis_url }}"\n',
        ),
        (
            source(
                code="import os\nos.environ['URL']\n",
                **{".env.example": "URL=sqlite+aiosqlite:///./shop.db\n"},
            ),
            "URL: sqlite+aiosqlite:////srv/shop/shared/shop.db # guessed: the folder that outlives releases\n",
        ),
        # Its workers
        (
            source(
                "fastapi celery",
                **{"tasks/queue.py": "from celery import Celery\nqueue = Celery()\n"},
            ),
            "# services: # guessed: celery among its dependencies; what it talks to, such as Redis, isn't set up\n"
            "  #   - {name: worker, run: celery -A tasks.queue:queue worker}\n",
        ),
    ],
)
def test_it_finds(appraised: Callable[[Files], str], files: Files, expected: str) -> None:
    assert expected in appraised(files)


@pytest.mark.parametrize(
    ("files", "unexpected"),
    [
        (source(), "folder"),
        (source(), "python"),
        (source(), "database"),
        (source(pyproject__toml='[project]\nrequires-python = ">=3.11"'), "python"),
        (source(**{"requirements-dev.txt": "psycopg"}), "database"),
        (source("fastapi sqlalchemy", "URL = 'sqlite:///x.db'\n"), "database"),
        (source("fastapi", alembic__ini=""), "migrate"),  # nothing to migrate
        (source("fastapi", tests__test_x__py=""), "static"),
        (source(code="class S(BaseSettings):\n    sentry_dsn: str | None = None\n"), "SENTRY_DSN"),
        (source(code="import os\nos.getenv('PORT')\n"), "PORT"),
    ],
)
def test_it_makes_nothing_up(
    appraised: Callable[[Files], str], files: Files, unexpected: str
) -> None:
    assert unexpected not in appraised(files)


def test_a_suggestion_is_sound(appraised: Callable[[Files], str], filters: ModuleType) -> None:
    files = source(
        "fastapi arq piccolo",
        "class WorkerSettings: ...\n",
        pyproject__toml='[project]\nrequires-python = ">=3.12"',
    )
    said = re.sub(r"^  # (?!lock)", "  ", appraised(files), flags=re.MULTILINE)
    entry = filled(said.splitlines())
    assert entry["shop"]["services"] == [{"name": "worker", "run": "arq main.WorkerSettings"}]
    assert entry["shop"]["python"] == "3.13" and entry["shop"]["database"] == {"name": "shop"}
    assert filters.app_errors(entry) == []


@pytest.mark.parametrize(
    "text",
    [
        "587",
        "True",
        "no",
        "1.0",
        "a: b",
        "a #b",
        "x,y",
        "{a}",
        "'",
        '"',
        "a b",
        "1e3",
        "é",
        "",
        "~",
        "@a",
        "http://x:1/",
    ],
)
def test_a_value_is_read_as_it_was(text: str) -> None:
    for form in ("{}", "[{}]", "{{key: {}}}"):
        said = yaml.safe_load(form.format(scalar(text)))
        (said,) = (
            said if isinstance(said, list) else said.values() if isinstance(said, dict) else [said]
        )
        assert str(said) == text and isinstance(said, str | int)


def test_a_settings_file_is_read_as_its_readers_do() -> None:
    text = "A=1 # one\nexport B='2 # two'\n# C=3\nD=\"x=y\"\nE=\nF = g\n"
    assert dotenv(text) == {"A": "1", "B": "2 # two", "D": "x=y", "E": "", "F": "g"}


# --- The inventory


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project that has what `make new` needs, and an application beside it."""
    place = tmp_path / "slipway"
    for path in (
        "scripts/appraise",
        "inventories/single",
        "plugins/filter",
        "roles/fastapi_app/meta",
        "roles/fastapi_app/module_utils",
    ):
        shutil.copytree(ROOT / path, place / path, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "scripts/new", place / "scripts/new")
    put(tmp_path / "shop", source(code=HEALTH.format("up")))
    return place


@dataclass(frozen=True)
class Done:
    """What came of a run."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def new(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return what runs a project's scripts/new."""
    loader = SourceFileLoader("scripts_new", str(project / "scripts/new"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    script = module_from_spec(spec)
    loader.exec_module(script)

    def run(*arguments: str) -> Done:
        return Done(script.main(arguments), *capsys.readouterr())

    return run


def test_it_is_a_command(new: Callable[..., Done], project: Path) -> None:
    command = [str(project / "scripts/new"), "--help"]
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, cwd="/", env=environment, check=True)


def test_it_makes_an_inventory_where_there_is_none(
    new: Callable[..., Done], project: Path, filters: ModuleType
) -> None:
    done = new("shop")
    assert done.returncode == 0, done.stderr
    assert (
        "Made inventories/production, a copy of inventories/single without the board" in done.stdout
    )
    for step in (
        "in inventories/production/hosts.yml",
        "domains",
        "make lock APP=shop",
        "make doctor INVENTORY=inventories/production",
        "ansible-playbook -i inventories/production site.yml",
    ):
        assert step in done.stdout
    made = project / "inventories/production"
    assert (made / "hosts.yml").read_text() == (
        project / "inventories/single/hosts.yml"
    ).read_text()
    said = yaml.safe_load((made / "group_vars/all/main.yml").read_text())
    assert list(said["apps"]) == ["shop"] and said["apps"]["shop"]["source"] == "../shop"
    assert not [name for name in said if name.startswith("fastapi_app_board")]
    said["apps"]["shop"]["domains"] = ["shop.example.org"]
    assert filters.app_errors(said["apps"]) == []


def test_a_second_one_comes_to_the_first_and_a_third_of_the_name_is_refused(
    new: Callable[..., Done], project: Path
) -> None:
    assert new("shop").returncode == 0
    done = new("blog", "--source", "../shop")
    assert done.returncode == 0 and "Made" not in done.stdout
    path = project / "inventories/production/group_vars/all/main.yml"
    text = path.read_text()
    assert list(yaml.safe_load(text)["apps"]) == ["shop", "blog"]
    done = new("blog", "--source", "../shop")
    assert done.returncode == 1
    assert (
        f"{path.relative_to(project)} has an application blog already; edit its entry"
        in done.stderr
    )
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "apps:\n  a: {x: 1}\n\n# more\nb: 1\n",
            "apps:\n  a: {x: 1}\n\n  new:\n    k: 1\n\n# more\nb: 1\n",
        ),
        ("apps:\n", "apps:\n  new:\n    k: 1\n"),
        ("apps: # mine", "apps: # mine\n  new:\n    k: 1\n"),
        (
            "apps:\n    a:\n        x: |\n\n            text\n# c\n\n  # d\nb: 1",
            "apps:\n    a:\n        x: |\n\n            text\n# c\n\n  # d\n\n    new:\n      k: 1\nb: 1",
        ),
        (
            "apps:\n  a:\n    x: !vault |\n      1\n...\n",
            "apps:\n  a:\n    x: !vault |\n      1\n\n  new:\n    k: 1\n...\n",
        ),
        ("x: 1\napps:\n  a: {}\n", "x: 1\napps:\n  a: {}\n\n  new:\n    k: 1\n"),
    ],
)
def test_all_else_stays_to_the_letter(before: str, after: str) -> None:
    assert inserted(before, ["new:", "  k: 1"]) == after


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        ((), "Say its name: make new APP=shop"),
        (("Shop",), "'Shop' can't be an application's name"),
        (("postgres",), "'postgres' can't be an application's name"),
        (("blog",), "say where its source is: make new APP=blog SOURCE="),
        (
            ("shop", "--source", "../nowhere"),
            "can't look at ../nowhere: there is no such file or folder. Say where the source is: SOURCE=",
        ),
        (
            ("shop", "--source", "file:///nowhere/x.git"),
            "can't look at file:///nowhere/x.git: fatal: ",
        ),
        (("shop", "--inventory", "inventories/nowhere"), "'cp -r inventories/single "),
        (("shop", "--inventory", "inventories/none"), "write 'apps:' there, on a line of its own"),
        (
            ("shop", "--inventory", "inventories/inline"),
            "write 'apps:' there, on a line of its own",
        ),
        (("shop", "--inventory", "inventories/list"), "'apps' is no dict; write each application"),
        (("shop", "--inventory", "inventories/broken"), "can't be read; mend it first"),
    ],
)
def test_it_refuses_with_the_fix_and_writes_nothing(
    new: Callable[..., Done], project: Path, arguments: tuple[str, ...], fix: str
) -> None:
    for name, text in {
        "none": "a: 1\n",
        "inline": "apps: {}\n",
        "list": "apps:\n  - a\n",
        "broken": "apps:\n  a: [\n",
    }.items():
        put(project / "inventories" / name, {"group_vars/all/main.yml": text})
    before = {path: path.read_bytes() for path in (project / "inventories").rglob("*.yml")}
    done = new(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and fix in done.stderr
    assert {path: path.read_bytes() for path in (project / "inventories").rglob("*.yml")} == before


def test_a_source_that_is_elsewhere_is_fetched(
    new: Callable[..., Done], project: Path, tmp_path: Path
) -> None:
    repository = commit(tmp_path / "shop")
    assert new("shop", "--source", f"file://{repository}").returncode == 0
    wheel = tmp_path / "blog-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as members:
        members.writestr("blog/web.py", MAIN)
        members.writestr(
            "blog-1.0.dist-info/METADATA",
            "Requires-Dist: asyncpg\nRequires-Dist: celery; extra == 'all'\nRequires-Python: >=3.14\n",
        )
    assert new("blog", "--source", str(wheel)).returncode == 0
    said = yaml.safe_load((project / "inventories/production/group_vars/all/main.yml").read_text())
    assert said["apps"]["shop"] == {
        "source": f"file://{repository}",
        "version": "trunk",
        "module": "main:app",
        "domains": [],
        "health": "/up",
    }
    assert said["apps"]["blog"] == {
        "source": str(wheel),
        "module": "blog.web:app",
        "python": "3.14",
        "domains": [],
        "database": {"name": "blog", "env": {"DATABASE_URL": "{url}"}},
        "health": None,
    }


def test_the_throw_away_host_has_names_that_lead_to_this_machine(
    new: Callable[..., Done], project: Path
) -> None:
    put(
        project / "inventories/local",
        {"group_vars/all/main.yml": "apps:\n  a: {domains: [a.localhost]}\n"},
    )
    assert new("shop", "--inventory", "inventories/local").returncode == 0
    said = yaml.safe_load((project / "inventories/local/group_vars/all/main.yml").read_text())
    assert said["apps"]["shop"]["domains"] == ["shop.localhost"]
