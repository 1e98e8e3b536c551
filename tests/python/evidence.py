"""A foreign reader of records: verifies and opens what crosses the broker, by docs/records.md and standard tools alone.

It knows the published schemas, the signer's public key and the recipient's private key, and nothing of the bus. It prints
one line of JSON for each record: `statement`, `statement_digest`, `context` and `payload`, or what is wrong: `refused`.
"""

import argparse
import hashlib
import json
import pathlib
import tempfile

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hpke, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from google.protobuf.message import Message

import stubs

STATEMENT_TYPE = "application/vnd.kopuro.statement.v1+protobuf"
# The order of P-256 (SEC 2, section 2.4.2).
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Each key encrypts one plaintext in its life.
NONCE = bytes(12)
SUITE = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class Refused(Exception):
    """The record is not what it should be."""


def main():
    options = parse_options()
    with tempfile.TemporaryDirectory() as folder:
        stubs.generate(folder, stubs.RECORDS)
        signing_key = options.signing_key.read_bytes()
        sealing_key = serialization.load_pem_private_key(options.sealing_key.read_bytes(), None)
        for path in options.records:
            try:
                told = read(path.read_bytes(), signing_key, sealing_key, stubs.module(stubs.RECORDS))
            except Refused as refused:
                told = {"refused": str(refused)}
            print(json.dumps(told, ensure_ascii=False))


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signing-key", type=pathlib.Path, required=True, help="the signer's public key, DER SPKI")
    parser.add_argument("--sealing-key", type=pathlib.Path, required=True, help="the recipient's private key, PEM")
    parser.add_argument("records", type=pathlib.Path, nargs="+", help="files of records, as the broker keeps them")
    return parser.parse_args()


def read(record_bytes, signing_key, sealing_key, wire):
    record = wire.Record.FromString(record_bytes)
    statement_bytes = verified(wire.Envelope.FromString(record.envelope), signing_key)
    statement = wire.Statement.FromString(statement_bytes)
    require(statement.sealed_digest_format == wire.DIGEST_FORMAT_FLAT, "the digest format is unknown")
    require(statement.sealed_digest == sha256(record.ciphertext), "the ciphertext is not the one stated")
    digest = sha256(statement_bytes)
    content = wire.Content.FromString(opened(record, digest, sealing_key))
    parts = sha256(content.context) + sha256(content.payload)
    require(statement.content_digest == sha256(parts), "the content is not the one stated")
    return {
        "statement": shown(statement),
        "statement_digest": digest.hex(),
        "context": shown(wire.ContextPart.FromString(content.context)),
        "payload": shown(wire.PayloadPart.FromString(content.payload)),
    }


def verified(envelope, spki):
    """The signed bytes of a DSSE envelope with one signature, ECDSA P-256 with SHA-256, by this key."""
    require(envelope.payload_type == STATEMENT_TYPE, "the payload type is not a statement's")
    require([entry.keyid for entry in envelope.signatures] == [sha256(spki).hex()], "another key has signed")
    kind, body, signature = STATEMENT_TYPE.encode(), envelope.payload, envelope.signatures[0].sig
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
    try:
        serialization.load_der_public_key(spki).verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("the signature does not verify") from None
    _, s = utils.decode_dss_signature(signature)
    require(s <= P256_ORDER // 2, "the signature's s is high")
    return body


def opened(record, statement_digest, recipient):
    """The content, by the wrap that is for this recipient."""
    key_id = sha256(spki_of(recipient))
    wraps = [wrap for wrap in record.wraps if wrap.recipient_key_id == key_id]
    require(len(wraps) == 1, "no wrap is for this recipient")
    [wrap] = wraps
    require(wrap.suite == 1, "the suite is unknown")
    try:
        epoch_key = SUITE.decrypt(wrap.enc + wrap.sealed_epoch_key, recipient, info=b"kopuro/epoch/v1" + key_id)
    except (InvalidTag, ValueError):
        raise Refused("the epoch key does not open") from None
    expand = HKDFExpand(hashes.SHA256(), 32, b"kopuro/wrap/v1" + statement_digest)
    content_key = decrypt(expand.derive(epoch_key), wrap.wrapped_content_key, "the content key does not open")
    return decrypt(content_key, record.ciphertext, "the content does not open")


def decrypt(key, ciphertext, fault):
    try:
        return AESGCM(key).decrypt(NONCE, ciphertext, None)
    except InvalidTag:
        raise Refused(fault) from None


def spki_of(private):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(serialization.Encoding.DER, form)


def sha256(data):
    return hashlib.sha256(data).digest()


def shown(message):
    """The fields that are set, by their names: enums as numbers, bytes in hexadecimal."""
    return {field.name: plain(value) for field, value in message.ListFields()}


def plain(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Message):
        return shown(value)
    return value if isinstance(value, (str, int)) else [plain(entry) for entry in value]


def require(holds, fault):
    if not holds:
        raise Refused(fault)


if __name__ == "__main__":
    main()
