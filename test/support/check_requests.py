"""Holds requests against botocore's models of the services: a list of them as JSON on standard input, problems on standard output.

botocore's own check knows required and unknown fields, types and least lengths; enums, patterns and greatest lengths are
checked here.
"""

import json
import re
import sys
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.session
from botocore.validate import ParamValidator

session = botocore.session.get_session()
models = {}


def model_of(service):
    if service not in models:
        models[service] = session.get_service_model(service)
    return models[service]


def operation_by_path(model, method, path):
    """Operation and the parameters in the path."""
    for name in model.operation_names:
        http = model.operation_model(name).http
        template = re.sub(r"\{(\w+)\+?\}", r"(?P<\1>[^/]+)", urlsplit(http["requestUri"]).path)
        match = re.fullmatch(template, path)
        if http["method"] == method and match:
            return name, {key: unquote(value) for key, value in match.groupdict().items()}
    raise LookupError(f"no operation for {method} {path}")


def parsed(request):
    model = model_of(request["service"])
    body = json.loads(request["body"]) if request["body"] else {}
    if request.get("target"):
        return model.operation_model(request["target"].split(".", 1)[1]), body
    url = urlsplit(request["path"])
    name, params = operation_by_path(model, request["method"], url.path)
    operation = model.operation_model(name)
    by_query = {s.serialization.get("name", key): (key, s) for key, s in operation.input_shape.members.items()
                if s.serialization.get("location") == "querystring"}
    for key, values in parse_qs(url.query).items():
        member, shape = by_query.get(key, (key, None))
        kind = shape.type_name if shape is not None else "string"
        if kind == "list":
            params[member] = values
        elif kind == "integer":
            params[member] = int(values[0])
        elif kind == "boolean":
            params[member] = values[0] == "true"
        else:
            params[member] = values[0]
    return operation, {**body, **params}


def walk(shape, value, where):
    meta = shape.metadata
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, item in value.items():
            if key in shape.members:
                yield from walk(shape.members[key], item, f"{where}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        if len(value) > meta.get("max", len(value)):
            yield f"{where}: more than {meta['max']} items"
        for index, item in enumerate(value):
            yield from walk(shape.member, item, f"{where}[{index}]")
    elif shape.type_name == "map" and isinstance(value, dict):
        if len(value) > meta.get("max", len(value)):
            yield f"{where}: more than {meta['max']} entries"
        for key, item in value.items():
            yield from walk(shape.key, key, f"{where} key {key!r}")
            yield from walk(shape.value, item, f"{where}[{key!r}]")
    elif isinstance(value, str):
        if "enum" in meta and value not in meta["enum"]:
            yield f"{where}: {value!r} is none of {meta['enum']}"
        if len(value) > meta.get("max", len(value)):
            yield f"{where}: longer than {meta['max']}"
        pattern = meta.get("pattern")
        # Patterns with code points outside of the basic plane are Java's; they exclude control characters only.
        if pattern and "\\uD800" not in pattern and not re.fullmatch(pattern.strip("^$"), value):
            yield f"{where}: {value!r} doesn't match {pattern}"
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if value > meta.get("max", value):
            yield f"{where}: {value} is more than {meta['max']}"


problems = []
seen = []
for request in json.load(sys.stdin):
    try:
        operation, params = parsed(request)
    except (LookupError, KeyError) as error:
        problems.append(str(error))
        continue
    seen.append(f"{request['service']}.{operation.name}")
    report = ParamValidator().validate(params, operation.input_shape)
    if report.has_errors():
        problems.append(f"{operation.name}: {report.generate_report()}")
    problems.extend(f"{operation.name}{problem}" for problem in walk(operation.input_shape, params, ""))
json.dump({"problems": problems, "operations": sorted(set(seen))}, sys.stdout)
