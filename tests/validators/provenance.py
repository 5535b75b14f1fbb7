"""Opens an envelope with the reference implementation of DSSE, and reads what it carries with
in-toto's own types, which know every field of SLSA provenance. Prints the statement."""

import json
import sys

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from packageurl import PackageURL
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

envelope_file, key_file = sys.argv[1:]
with open(envelope_file, encoding="utf-8") as file:
    envelope = Envelope.from_dict(json.load(file))
with open(key_file, "rb") as file:
    key = SSlibKey.from_crypto(load_pem_public_key(file.read()), next(iter(envelope.signatures)))
envelope.verify([key], 1)
assert envelope.payload_type == "application/vnd.in-toto+json", envelope.payload_type

document = json.loads(envelope.payload)
Statement.copy_from_pb(json_format.ParseDict(document, StatementMessage())).validate()
assert document["predicateType"] == "https://slsa.dev/provenance/v1"
# An unknown field, or one of another type, is an error.
predicate = json_format.ParseDict(document["predicate"], Provenance())
definition, details = predicate.build_definition, predicate.run_details
assert definition.build_type and definition.external_parameters and details.builder.id
for resource in [*definition.resolved_dependencies, *details.byproducts]:
    ResourceDescriptor.copy_from_pb(resource).validate()
    assert resource.digest, resource
    if resource.uri:
        assert PackageURL.from_string(resource.uri).to_string() == resource.uri, resource.uri
assert details.metadata.started_on.ToDatetime() <= details.metadata.finished_on.ToDatetime()
print(json.dumps(document))
