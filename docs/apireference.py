"""
What pydoctor does not see in the sources, and the API reference shows.

  - A public name is documented where users import it from, even if its module is public too; what
    its annotations and its docstring mention is looked up where it is defined.
  - The constructors of public classes are those that attrs writes.
  - If a page of the documentation links to a name, the name links back.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.util import resolve_name
from pathlib import Path

import attrs
from docutils.nodes import make_id
from pydoctor.epydoc2stan import parse_docstring
from pydoctor.extensions import ClassMixin, ExtRegistrar, ModuleVisitorExt
from pydoctor.model import Attribute, Class, Documentable, Function, Package
from pydoctor.model import System as PydoctorSystem

import avatarkit.testing
import avatarkit.transports

docs = Path(__file__).parent

#: What is public, by name.
public: dict[str, object] = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (avatarkit, avatarkit.testing, avatarkit.transports)
    for name in module.__all__
}


class Default:
    """
    Stands for the default of a parameter, and looks as it does in the sources.
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        text = repr(self.value)
        return getattr(self.value, "__name__", str(self.value)) if text.startswith("<") else text


def constructorOf(cls: type) -> inspect.Signature:
    """
    Return the signature of the C{__init__} of a class, as it would be in the sources if attrs had
    not written it.
    """
    signature = inspect.signature(cls.__init__)  # type: ignore[misc]  # it is only looked at
    parameters = []
    for each in signature.parameters.values():
        default = each.default
        if default is attrs.NOTHING:  # which stands for a factory
            fields = {field.alias: field for field in attrs.fields(cls)}
            default = fields[each.name].default.factory()
        shown = each.empty if default is each.empty else Default(default)
        parameters.append(each.replace(default=shown))
    return signature.replace(parameters=parameters)


def isSetter(node: ast.stmt) -> bool:
    """
    Return whether a statement makes a property settable, which pydoctor takes for one more property
    of that name.
    """
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(each, ast.Attribute) and each.attr == "setter" for each in node.decorator_list
    )


class Sources(ModuleVisitorExt):
    """
    Prepares each module for pydoctor.
    """

    when = ModuleVisitorExt.When.BEFORE

    def visit_Module(self, node: ast.Module) -> None:
        """
        Write the constructors of public classes out.  A C{__new__} here only checks the arguments,
        and a property is described where it is read.
        """
        module = import_module(self.visitor.module.fullName())
        for each in node.body:
            if isinstance(each, ast.ClassDef):
                each.body = [part for part in each.body if not isSetter(part)]
                methods = {part.name: part for part in each.body if hasattr(part, "name")}
                if "__new__" in methods:
                    each.body.remove(methods["__new__"])
                cls = getattr(module, each.name, object)
                if cls in public.values() and attrs.has(cls) and "__init__" not in methods:
                    doc = "The class describes the arguments."
                    each.body += ast.parse(f"def __init__{constructorOf(cls)}: {doc!r}").body

    def depart_Module(self, node: ast.Module) -> None:
        """
        Let a package know the names that are known where its public names come from, and let it
        take these names over even from modules that are public themselves.
        """
        module = self.visitor.module
        module.all = None
        if not isinstance(module, Package):
            return
        for each in node.body:
            if isinstance(each, ast.ImportFrom) and each.level:
                name = resolve_name("." * each.level + (each.module or ""), module.fullName())
                origin = module.system.getProcessedModule(name)
                assert origin is not None
                for known in origin.localNames():
                    module._localNameToFullName_map.setdefault(known, origin.expandName(known))


def placesOf(page: str) -> dict[str, str]:
    """
    Return where a page first links to each name: a reference to that section, in reStructuredText.
    """
    text = re.sub(r"^```.*?^```$", "", (docs / f"{page}.md").read_text(), flags=re.M | re.S)
    parts = re.split(r"^#{1,3} (.*)$", text, flags=re.M)[1:]
    places: dict[str, str] = {}
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        title, address = parts[0], f"../{page}.html"
        if heading is not title:
            heading = heading.replace("`", "")
            title, address = f"{title}: {heading}", f"{address}#{make_id(heading)}"
        for link in re.findall(r"\]\(#(avatarkit[\w.]*)\)", body):
            for name in (link, link.rpartition(".")[0]):  # a method's class too
                places.setdefault(name, f"`{title} <{address}>`__")
    return places


def introduce(system: PydoctorSystem) -> None:
    """
    Say at the top of what is public how it is made, and which pages link to it.
    """
    pages = re.findall(r"^[\w-]+$", (docs / "index.md").read_text(), re.M)
    places = [
        placesOf(each)
        for each in pages
        if (docs / f"{each}.md").exists() and each != "reference"  # which links to all of them
    ]
    for name, value in public.items():
        it = system.allobjects[name]
        if isinstance(it, Class) and isinstance(it.find("__init__"), Function):
            assert isinstance(value, type)
            _, *parameters = constructorOf(value).parameters.values()
            bare = inspect.Signature([each.replace(annotation=each.empty) for each in parameters])
            say(it, f"Constructor: ``{it.name}{bare}``")
        if isinstance(it, Attribute):
            it.annotation = None  # pydoctor takes a member of an enum for a str
        found = [each[name] for each in places if name in each]
        if found:
            say(it, f"In the documentation: {', '.join(found)}")


def say(it: Documentable, text: str) -> None:
    """
    Add a line in reStructuredText to the reference of a name.
    """
    line = parse_docstring(it, text, it, markup="restructuredtext", section="reference")
    it.extra_info.append(line)


class NoConstructors(ClassMixin):
    """
    Leaves out pydoctor's own line about the constructor, which has no defaults and stops early.
    """

    public_constructors = ()


class System(PydoctorSystem):
    """
    pydoctor, with all of this.
    """

    custom_extensions = [__name__]


def setup_pydoctor_extension(registrar: ExtRegistrar) -> None:
    """
    Called by pydoctor.
    """
    registrar.register_astbuilder_visitor(Sources)
    registrar.register_mixin(NoConstructors)
    registrar.register_post_processor(introduce)
