"""Stubs generated from the published schemas, as any agency generates them."""

import importlib
import pathlib
import sys

import grpc_tools
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where imports are looked up; tests/python/setup puts validate.proto into the environment.
SCHEMAS = [
    ROOT / "proto" / "examples",
    ROOT / "proto",
    pathlib.Path(sys.prefix) / "include" / "proto",
    pathlib.Path(grpc_tools.__file__).parent / "_proto",
]
PENSIONS = "kg/socialfund/v1/pension.proto"
RECORDS = "kopuro/exchange/v1/exchange.proto"
IMPORTED = ["kopuro/options/v1/options.proto", "buf/validate/validate.proto"]


def generate(folder, *schemas):
    """Generates the modules of these schemas in a folder, and makes them importable from it."""
    roots = [f"--proto_path={root}" for root in SCHEMAS]
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    if protoc.main(["protoc", *roots, *outputs, *schemas, *IMPORTED]) != 0:
        sys.exit("the schemas do not compile")
    sys.path.insert(0, str(folder))


def module(schema, kind="pb2"):
    """The generated module of a schema: its messages, or with `pb2_grpc` its services."""
    name = schema.removesuffix(".proto").replace("/", ".")
    return importlib.import_module(f"{name}_{kind}")
