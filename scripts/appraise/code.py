"""What the Python code of an application says: parsed, and never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from appraise.source import found, read

VERBS = ("get", "post", "put", "patch", "delete")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A Python module of the source."""

    path: Path
    name: str
    tree: ast.Module

    @cached_property
    def imports(self) -> dict[str, str]:
        """What its imports bind, by name: the dotted name of a module, or of something in one."""
        bound = {}
        package = self.name.split(".")
        if self.path.name != "__init__.py":
            package.pop()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    bound[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) + 1 - node.level] if node.level else []
                for alias in node.names:
                    parts = [*above, node.module or "", alias.name]
                    bound[alias.asname or alias.name] = ".".join(filter(None, parts))
        return bound

    def dotted(self, node: ast.expr) -> str:
        """Return the dotted name that an expression stands for, empty if it is none."""
        if isinstance(node, ast.Attribute):
            return f"{self.dotted(node.value)}.{node.attr}"
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, f"{self.name}.{node.id}")
        return ""


@dataclass(frozen=True)
class Setting:
    """A variable of the environment that the code reads."""

    path: Path
    required: bool = False
    default: Any = None
    # Each process makes a default of its own: a key that is none for more than one worker.
    made: bool = False


@dataclass(frozen=True)
class Route:
    """A path that the application answers, without parameters in it."""

    verb: str
    path: str
    where: Path


class Code:
    """The Python code below a folder."""

    def __init__(self, root: Path) -> None:
        """Parse what can be parsed."""
        self.modules: dict[str, Module] = {}
        for path in found(root, "*.py"):
            text, name = read(path), module_name(path, root)
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                # Newer than the Python that runs this, perhaps: of such a module just what it serves is seen.
                made = re.findall(r"^(\w+)\b[^=\n(]*= *(?:\w+\.)*FastAPI\(", text, re.MULTILINE)
                tree = ast.parse("".join(f"{name} = FastAPI()\n" for name in made))
            self.modules[name] = Module(path, name, tree)

    @cached_property
    def nodes(self) -> list[tuple[Module, ast.AST]]:
        """Everything in every module."""
        return [
            (module, node) for module in self.modules.values() for node in ast.walk(module.tree)
        ]

    @cached_property
    def imported(self) -> set[str]:
        """The packages that it imports itself."""
        return {
            name.split(".")[0]
            for module in self.modules.values()
            for name in module.imports.values()
        }

    @cached_property
    def words(self) -> set[str]:
        """Every name and every text in the code, in capitals."""
        said = set(self.texts)
        for _, node in self.nodes:
            for attribute in ("id", "attr", "arg", "name"):
                if isinstance(word := getattr(node, attribute, None), str):
                    said.add(word.upper())
        return said

    @cached_property
    def texts(self) -> set[str]:
        """Every text in the code, in capitals."""
        constants = (node.value for _, node in self.nodes if isinstance(node, ast.Constant))
        return {text.upper() for text in constants if isinstance(text, str)}

    # What it serves

    @cached_property
    def applications(self) -> list[tuple[Module, str]]:
        """What makes the application: each with its module, ``app`` or ``create_app()``, the likeliest first."""
        makers = [
            (module, node)
            for module, node in self.nodes
            if isinstance(node, Function) and returns_application(node)
        ]
        factories = {function.name for _, function in makers}
        objects = [
            (module, name)
            for module in self.modules.values()
            for name, value in bindings(top_level(module.tree.body))
            if called(value) == "FastAPI" or called(value) in factories
        ]
        mounted = {
            module.dotted(node.args[1])
            for module, node in self.nodes
            if isinstance(node, ast.Call) and called(node) == "mount" and len(node.args) > 1
        }
        outermost = [one for one in objects if f"{one[0].name}.{one[1]}" not in mounted]
        alone = [(module, f"{node.name}()") for module, node in makers if callable_alone(node)]
        return sorted(outermost or objects or alone, key=lambda one: likelihood(one[0]))

    @cached_property
    def objects(self) -> list[tuple[Module, str, str]]:
        """What is made by a call, and what is a class: module, name, and what is called or the class."""
        listed = []
        for module, node in self.nodes:
            listed += [(module, name, called(value)) for name, value in bindings([node])]
            if isinstance(node, ast.ClassDef):
                listed.append((module, node.name, node.name))
        return listed

    # Where it answers

    @cached_property
    def constants(self) -> dict[str, set[str]]:
        """The texts that names and attributes are set to, anywhere."""
        texts: dict[str, set[str]] = {}
        for name, value in bindings(node for _, node in self.nodes):
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                texts.setdefault(name, set()).add(value.value)
        return texts

    def text(self, node: ast.expr | None) -> str | None:
        """Return the text of an expression as far as that is plain; that of no expression is empty."""
        match node:
            case None:
                return ""
            case ast.Constant(value=str(text)):
                return text
            case ast.Name(id=name) | ast.Attribute(attr=name):
                values = self.constants.get(name, set())
                return next(iter(values)) if len(values) == 1 else None
            case ast.JoinedStr(values=parts):
                texts = [self.text(part) for part in parts]
                return None if None in texts else "".join(filter(None, texts))
            case ast.FormattedValue(value=value):
                return self.text(value)
        return None

    def canonical(self, name: str) -> str:
        """Return a dotted name as where it is made, and not as a package hands it on."""
        for _ in range(5):
            module, _, attribute = name.rpartition(".")
            if module not in self.modules or attribute not in self.modules[module].imports:
                break
            name = self.modules[module].imports[attribute]
        return name

    @cached_property
    def routers(self) -> dict[str, str | None]:
        """The prefix of each APIRouter, and of each FastAPI, which has none, by dotted name."""
        return {
            f"{module.name}.{name}": self.text(argument(value, "prefix"))
            for module, node in self.nodes
            for name, value in bindings([node])
            if isinstance(value, ast.Call) and called(value) in ("APIRouter", "FastAPI")
        }

    @cached_property
    def inclusions(self) -> dict[str, list[tuple[str, str | None]]]:
        """What includes a router, with the prefix that it gives it, by the router's dotted name."""
        included: dict[str, list[tuple[str, str | None]]] = {}
        for module, call in self.nodes:
            if not isinstance(call, ast.Call) or called(call) != "include_router":
                continue
            router = argument(call, "router", 0)
            if router is None or not isinstance(call.func, ast.Attribute):
                continue
            outer = self.canonical(module.dotted(call.func.value))
            for name in each(module, module.dotted(router)):
                prefix = self.text(argument(call, "prefix"))
                included.setdefault(self.canonical(name), []).append((outer, prefix))
        return included

    def prefixes(self, router: str, below: tuple[str, ...] = ()) -> Iterator[str]:
        """Yield the paths below which a router answers, as far as they are plain."""
        own = self.routers.get(router, "")
        if own is None or router in below:
            return
        if router not in self.inclusions:
            yield own
        for outer, prefix in self.inclusions.get(router, []):
            if prefix is not None:
                yield from (
                    above + prefix + own for above in self.prefixes(outer, (*below, router))
                )

    @cached_property
    def routes(self) -> list[Route]:
        """The routes that are plain."""
        listed = []
        for module, node in self.nodes:
            for decorator in getattr(node, "decorator_list", []):
                if called(decorator) not in VERBS or not isinstance(decorator.func, ast.Attribute):
                    continue
                path = self.text(argument(decorator, "path", 0))
                for prefix in self.prefixes(self.canonical(module.dotted(decorator.func.value))):
                    if path is not None and "{" not in prefix + path:
                        listed.append(Route(called(decorator), prefix + path or "/", module.path))
        return listed

    @cached_property
    def static(self) -> list[tuple[str, list[str], Path]]:
        """Each mount of StaticFiles: its path, the parts of its folder's name, and the file that has it."""
        mounts = []
        for module, call in self.nodes:
            if not isinstance(call, ast.Call) or called(call) != "mount":
                continue
            url, files = self.text(argument(call, "path", 0)), argument(call, "app", 1)
            if url and isinstance(files, ast.Call) and called(files) == "StaticFiles":
                folder = argument(files, "directory", 0)
                texts = [
                    node
                    for node in (ast.walk(folder) if folder else ())
                    if isinstance(node, ast.Constant) and isinstance(node.value, str)
                ]
                texts.sort(key=lambda text: (text.lineno, text.col_offset))
                parts = [str(text.value) for text in texts] or [self.text(folder) or ""]
                mounts.append((url, parts, module.path))
        return mounts

    # What it reads

    @cached_property
    def settings(self) -> dict[str, Setting]:
        """The variables of the environment that it reads, by name."""
        listed: dict[str, Setting] = {}
        for module, node in self.nodes:
            if isinstance(node, ast.ClassDef):
                if any(module.dotted(base).endswith("Settings") for base in node.bases):
                    listed |= settings_of(node, module.path)
            elif isinstance(node, ast.Call | ast.Subscript) and (name := variable_read(node)):
                listed.setdefault(name, Setting(module.path, isinstance(node, ast.Subscript)))
        return listed


def module_name(path: Path, folder: Path) -> str:
    """Return the dotted name of a module that is found from a folder."""
    name = ".".join(path.relative_to(folder).with_suffix("").parts)
    return name.removeprefix("src.").removesuffix(".__init__")


def called(node: ast.AST | None) -> str:
    """Return the last part of the name that an expression calls: FastAPI of fastapi.FastAPI()."""
    if not isinstance(node, ast.Call):
        return ""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def argument(call: ast.Call, name: str, position: int = -1) -> ast.expr | None:
    """Return an argument of a call, by its name or its position."""
    if 0 <= position < len(call.args):
        return call.args[position]
    return next((given.value for given in call.keywords if given.arg == name), None)


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, and those in an if, a try or a with."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            yield from top_level(statement.body + getattr(statement, "orelse", []))


def bindings(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.expr]]:
    """Yield the name and the value of each assignment among nodes."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            yield from ((name, node.value) for name in names)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


def each(module: Module, name: str) -> list[str]:
    """Return the dotted names that one stands for in a loop: ``for one in (items, users): include(one.router)``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple | ast.List):
            variable = module.dotted(node.target)
            if f"{name}.".startswith(f"{variable}."):
                return [module.dotted(one) + name.removeprefix(variable) for one in node.iter.elts]
    return [name]


def returns_application(function: Function) -> bool:
    """Tell whether a function returns a FastAPI that it has made."""
    nodes = list(ast.walk(function))
    made = {name for name, value in bindings(nodes) if called(value) == "FastAPI"}
    returned = [node.value for node in nodes if isinstance(node, ast.Return)]
    return any(called(one) == "FastAPI" or getattr(one, "id", "") in made for one in returned)


def callable_alone(function: Function) -> bool:
    """Tell whether a function can be called as it is, without arguments."""
    given = function.args
    enough = len(given.args) == len(given.defaults) and None not in given.kw_defaults
    return enough and isinstance(function, ast.FunctionDef)


def likelihood(module: Module) -> tuple[bool, int, str]:
    """Return what sorts modules by how likely they have what is served."""
    stem = module.name.rpartition(".")[2]
    return stem not in ("main", "app", "asgi", "server"), module.name.count("."), module.name


def variable_read(node: ast.Call | ast.Subscript) -> str:
    """Return the variable that an expression reads from the environment, empty if it does nothing of the kind."""
    if isinstance(node, ast.Subscript):
        name = node.slice if ast.unparse(node.value).endswith("environ") else None
    else:
        reads = r"(.*\.)?(getenv|environ\.get|config|env(\.\w+)?)"
        name = argument(node, "key", 0) if re.fullmatch(reads, ast.unparse(node.func)) else None
    text = name.value if isinstance(name, ast.Constant) else None
    return text if isinstance(text, str) and re.fullmatch(r"[A-Z][A-Z0-9_]+", text) else ""


def settings_of(node: ast.ClassDef, path: Path) -> dict[str, Setting]:
    """Return the variables that a class of pydantic-settings reads, by name."""
    said = [ast.unparse(value) for name, value in bindings(node.body) if name == "model_config"]
    options = " ".join(
        [*said, *(ast.unparse(one) for one in node.body if isinstance(one, ast.ClassDef))]
    )
    prefix = re.search(r"env_prefix\W+'(\w*)'", options)
    exact = re.search(r"case_sensitive\W+True", options)
    settings = {}
    for field in node.body:
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if field.target.id == "model_config" or "ClassVar" in ast.unparse(field.annotation):
            continue
        name, value = f"{prefix[1] if prefix else ''}{field.target.id}", field.value
        made = isinstance(value, ast.Call)
        if isinstance(value, ast.Call) and called(value) == "Field":
            alias = argument(value, "validation_alias") or argument(value, "alias")
            name = str(alias.value) if isinstance(alias, ast.Constant) else name
            made = argument(value, "default_factory") is not None
            value = argument(value, "default_factory") or argument(value, "default", 0)
        constant = value.value if isinstance(value, ast.Constant) else None
        settings[name if exact else name.upper()] = Setting(
            path, required=value is None or constant is ..., default=constant, made=made
        )
    return settings
