"""OpenAPI 3.1 of bodies: what a route takes, as tools for documentation read it.

``body_schema`` makes the Request Body Object of a model or of rules for files, and
``problem_responses`` the Responses of what is answered where a body does not fit. The
JSON Schemas are the libraries'; files, their types and sizes are added here. Neither
serves anything: they go into the document that another tool makes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from aiostreams.content.file import File
from aiostreams.content.members import file_in, name_of
from aiostreams.content.models import model_of
from aiostreams.uploads.formmodel import form_members
from aiostreams.uploads.stored import StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiostreams.uploads.formmodel import FormMember
    from aiostreams.uploads.rules import FileRule

__all__ = ["body_schema", "problem_responses"]

_JSON: Final = "application/json"
_MULTIPART: Final = "multipart/form-data"
_PREFIX: Final = "#/components/schemas/"
_TEMPLATE: Final = _PREFIX + "{name}"


def body_schema(
    model: Any,
    *,
    media_types: Iterable[str] | None = None,
    schemas: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the Request Body Object (OpenAPI 3.1, 4.8.13) of a model, or of rules.

        operation = {
            "requestBody": body_schema(Order),
            "responses": {"200": done, **problem_responses()},
        }

    Args:
        model: what ``read_json(type=)``, ``read_form`` or ``receive(form=)`` takes; or
            a mapping of fields to :class:`FileRule`, as ``receive(files=)`` takes.
        media_types: what the route reads: ``application/json``,
            ``multipart/form-data``, ``application/x-www-form-urlencoded``. Unless
            given, a form where there are files, else JSON.
        schemas: the document's ``components.schemas``, to which the named schemas are
            added, and referred to. Unless given, they are put where they are referred
            to.

    Raises:
        ImportError: the extra that the model needs is missing.
        TypeError: no validator supports the model; a media type cannot have
            it; or it refers to itself, which takes ``schemas``.
    """
    if isinstance(model, Mapping):
        properties = {
            field: _file(rule, rule.max_count != 1) for field, rule in model.items()
        }
        required = [field for field, rule in model.items() if rule.min_count]
        encoding = {
            field: {"contentType": ", ".join(sorted(rule.accept))}
            for field, rule in model.items()
            if rule.accept is not None
        }
        form = _object(properties, required)
        content = {_MULTIPART: {"schema": form, **_encoding(encoding)}}
        return {"required": True, "content": content}
    kind = file_in(model)
    if media_types is None:
        media_types = [_JSON if kind is None else _MULTIPART]
    content = {}
    for media_type in media_types:
        if media_type == _JSON:
            if kind is not None:
                raise TypeError(
                    f"{name_of(model)} has files, which JSON cannot contain"
                )
            schema, named = model_of(model, early=True).schema(_TEMPLATE)
            content[media_type] = {"schema": _placed(schema, named, schemas)}
        elif media_type.startswith("text/") or "/" not in media_type:
            raise TypeError(
                f"a body of type {media_type} cannot become {name_of(model)}"
            )
        else:
            content[media_type] = _form(model, kind, media_type, schemas)
    return {"required": True, "content": content}


def _form(
    model: Any, kind: Any, media_type: str, schemas: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the Media Type Object of a form."""
    compiled = model_of(model, early=True)
    file_type = File if kind is not None and issubclass(File, kind) else StoredFile
    members = form_members(compiled, file_type)
    if members is None:
        return {"schema": {"type": "object"}}
    found, named = compiled.member_schemas(_TEMPLATE)
    properties: dict[str, Any] = {}
    encoding: dict[str, Any] = {}
    required = []
    for member in members:
        if member.rule is not None:
            if media_type != _MULTIPART:
                raise TypeError(f"a body of type {media_type} has no files")
            properties[member.name] = _file(member.rule, member.make is not None)
            if member.rule.accept is not None:
                accept = ", ".join(sorted(member.rule.accept))
                encoding[member.name] = {"contentType": accept}
        else:
            schema = _placed(found.get(member.key, {}), named, schemas)
            properties[member.name] = schema
            if member.shape.is_json:
                encoding[member.name] = {"contentType": _JSON}
        if _is_required(member):
            required.append(member.name)
    return {"schema": _object(properties, required), **_encoding(encoding)}


def _is_required(member: FormMember) -> bool:
    if member.rule is not None:
        return bool(member.rule.min_count)
    shape = member.shape
    return member.required and not (shape.nullable or shape.several or shape.is_bool)


def _object(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    return schema


def _encoding(encoding: dict[str, Any]) -> dict[str, Any]:
    return {"encoding": encoding} if encoding else {}


def _file(rule: FileRule, several: bool) -> dict[str, Any]:  # noqa: FBT001
    """Return the schema of a field's files; ``maxLength`` counts bytes here."""
    accept = rule.accept or ()
    (media_type,) = accept if len(accept) == 1 else ("application/octet-stream",)
    file: dict[str, Any] = {"type": "string", "contentMediaType": media_type}
    if rule.max_size is not None:
        file["maxLength"] = rule.max_size
    if not several:
        return file
    files: dict[str, Any] = {"type": "array", "items": file}
    if rule.min_count:
        files["minItems"] = rule.min_count
    if rule.max_count is not None:
        files["maxItems"] = rule.max_count
    return files


def _placed(
    schema: dict[str, Any], named: dict[str, Any], schemas: dict[str, Any] | None
) -> dict[str, Any]:
    """Return a schema whose references lead somewhere."""
    if schemas is not None:
        for name, one in named.items():
            if schemas.setdefault(name, one) != one:
                raise TypeError(f"two schemas have the name {name!r}")
        return schema
    placed: dict[str, Any] = _inlined(schema, named, ())
    return placed


def _inlined(node: Any, named: dict[str, Any], outer: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_inlined(one, named, outer) for one in node]
    if not isinstance(node, dict):
        return node
    target = node.get("$ref")
    if not isinstance(target, str):
        return {
            key: _inlined(one, named, outer)
            for key, one in node.items()
            # It maps tags to references.
            if key != "discriminator"
        }
    name = target.removeprefix(_PREFIX)
    if name in outer:
        raise TypeError(f"{name} refers to itself: body_schema(..., schemas={{}})")
    rest = {key: one for key, one in node.items() if key != "$ref"}
    inlined: dict[str, Any] = _inlined(named[name], named, (*outer, name))
    return {**inlined, **_inlined(rest, named, outer)}


# -- problems --------------------------------------------------------------------------

_PROBLEMS: Final = {
    400: "The body breaks its syntax.",
    408: "The body came too slowly.",
    411: "The request has no Content-Length.",
    413: "The body, or a piece of it, is too large.",
    415: "The body, or a file in it, is of a type that is not read.",
    422: "The body is well-formed, and its value does not fit.",
    507: "The storage is full.",
}
_MEMBERS: Final[dict[int, dict[str, Any]]] = {
    413: {"limit": {"type": "number"}, "seen": {"type": "number"}},
    422: {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "examples": ["#/photos/0/caption"]},
                    "detail": {"type": "string"},
                },
                "required": ["pointer", "detail"],
            },
        }
    },
}


def problem_responses(*statuses: int) -> dict[str, Any]:
    """Make the Responses Object (OpenAPI 3.1, 4.8.16) of problem documents.

    Args:
        statuses: which; 400, 413, 415 and 422 unless given.

    Raises:
        ValueError: no problem with a body has that status.
    """
    return {
        str(status): _problem(status) for status in statuses or (400, 413, 415, 422)
    }


def _problem(status: int) -> dict[str, Any]:
    if status not in _PROBLEMS:
        known = ", ".join(map(str, _PROBLEMS))
        raise ValueError(f"unknown status {status}; expected one of {known}")
    schema = _object(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"const": status},
            "detail": {"type": "string"},
            **_MEMBERS.get(status, {}),
        },
        ["type", "title", "status", "detail"],
    )
    return {
        "description": _PROBLEMS[status],
        "content": {
            "application/problem+json": {"schema": schema},
            "text/plain": {"schema": {"type": "string"}},
        },
    }
