"""Reads and validates SPDX documents with the tools of the SPDX project."""

import sys

from packageurl import PackageURL
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

for name in sys.argv[1:]:
    document = parse_file(name)
    wrong = validate_full_spdx_document(document, "SPDX-2.3")
    assert not wrong, (name, [message.validation_message for message in wrong])
    for package in document.packages:
        for reference in package.external_references:
            url = reference.locator
            assert PackageURL.from_string(url).to_string() == url, url
    print(document.creation_info.name, len(document.packages), len(document.relationships))
