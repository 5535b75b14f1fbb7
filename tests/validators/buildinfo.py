"""Reads a .buildinfo with python-debian. Prints a line for each package that was installed."""

import sys

from debian.deb822 import BuildInfo

with open(sys.argv[1], encoding="utf-8") as file:
    info = BuildInfo(file)
assert info["Format"] == "1.0" and info.get_source() and info.get_build_date()
assert [file["name"] for file in info["Checksums-Sha256"]]
assert all(len(file["sha1"]) == 40 for file in info["Checksums-Sha1"])
assert all(len(file["md5"]) == 32 for file in info["Checksums-Md5"])
assert info.get_environment()["LC_ALL"] == "C.UTF-8"
for alternatives in info.relations["installed-build-depends"]:
    (one,) = alternatives
    operator, version = one["version"]
    assert operator == "=", one
    print(one["name"], version)
