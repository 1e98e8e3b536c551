"""A foreign client: generates stubs from the published schemas and calls the Social Fund through a gateway.

It knows nothing of the bus but a gateway's address, the certificates and the names of the metadata. It prints one line
of JSON for each call: `code`, `metadata` (what the gateway answered beside the message), and either `response` or `error`.
"""

import argparse
import base64
import json
import pathlib
import tempfile
import uuid

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

import stubs


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        stubs.generate(folder, stubs.PENSIONS)
        messages, services = stubs.module(stubs.PENSIONS), stubs.module(stubs.PENSIONS, "pb2_grpc")
        with open_channel(options) as channel:
            for pin, deadline_s in zip(options.pin, options.deadline_s):
                answered = call(channel, messages, services, options, pin, deadline_s)
                print(json.dumps(answered, ensure_ascii=False))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gateway", required=True, help="its address, such as 127.0.0.1:8443")
    parser.add_argument("--server-name", help="the name in the gateway's certificate, where it is not the address")
    parser.add_argument("--authority", required=True, help="file of the trusted certificates, PEM")
    parser.add_argument("--certificate", required=True, help="file of the client's certificate chain, PEM")
    parser.add_argument("--key", required=True, help="file of the client's private key, PEM")
    parser.add_argument(
        "--pin",
        nargs="+",
        default=["11205195400017"],
        help="whose pensions, a call for each over one channel; a malformed one is sent as it is",
    )
    parser.add_argument("--request-id", default=str(uuid.uuid4()))
    parser.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
    parser.add_argument("--deadline-s", nargs="+", type=float, help="of each call; 20 when there is none")
    options = parser.parse_args()
    options.deadline_s = options.deadline_s or [20] * len(options.pin)
    if len(options.deadline_s) != len(options.pin):
        parser.error("there must be a deadline for each call, or none")
    return options


def open_channel(options):
    """Opens a channel on which both sides show certificates."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=pathlib.Path(options.authority).read_bytes(),
        private_key=pathlib.Path(options.key).read_bytes(),
        certificate_chain=pathlib.Path(options.certificate).read_bytes(),
    )
    named = [("grpc.ssl_target_name_override", options.server_name)] if options.server_name else []
    return grpc.secure_channel(options.gateway, credentials, options=named)


def call(channel, messages, services, options, pin, deadline_s):
    request = messages.GetPensionInfoRequest(
        pin=pin,
        requesting_organisation="Citizen portal",
        requesting_person_pin="20101198012345",
    )
    metadata = [("kopuro-request-id", options.request_id)]
    metadata += [tuple(entry.split("=", 1)) for entry in options.metadata]
    method = services.PensionServiceStub(channel).GetPensionInfo
    try:
        response, answered = method.with_call(request, metadata=metadata, timeout=deadline_s)
    except grpc.RpcError as error:
        return {**outcome(error), "error": describe(error)}
    return {**outcome(answered), "response": json_format.MessageToDict(response, preserving_proto_field_name=True)}


def outcome(answered):
    """The code, and the metadata of head and tail; binary values in base64."""
    entries = [*(answered.initial_metadata() or ()), *(answered.trailing_metadata() or ())]
    return {"code": answered.code().name, "metadata": {name: readable(value) for name, value in entries}}


def readable(value):
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def describe(error):
    """The message of a refusal and what its details tell: reason, domain, metadata, field violations."""
    told = {"message": error.details(), "violations": []}
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    for detail in status_pb2.Status.FromString(details).details:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            told.update(reason=info.reason, domain=info.domain, metadata=dict(info.metadata))
        elif detail.Unpack(bad_request):
            told["violations"] += [json_format.MessageToDict(each) for each in bad_request.field_violations]
    return told


if __name__ == "__main__":
    main()
