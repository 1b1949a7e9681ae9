"""The software bill of materials of what is shipped, as SPDX 2.3 JSON.
sbom.py COMMIT_TIME <metadata.json >sbom.spdx.json

The input is `cargo metadata --format-version 1 --filter-platform TARGET --features cli`. Listed are the crates that
end up in the libraries and the command: neither development nor build dependencies."""

import datetime
import hashlib
import json
import re
import sys


def checksums(lock):
    """(name, version) to SHA-256, from Cargo.lock."""
    entry = re.compile(r'name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"')
    return {(name, version): digest for name, version, digest in entry.findall(lock)}


def linked(metadata):
    """Ids of the root and of what it links, directly or not; pairs of those that depend on each other."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting, pairs = {root}, [root], []
    while waiting:
        user = waiting.pop()
        for dependency in nodes[user]["deps"]:
            if all(kind["kind"] is not None for kind in dependency["dep_kinds"]):
                continue
            pairs.append((user, dependency["pkg"]))
            if dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                waiting.append(dependency["pkg"])
    return root, seen, pairs


def spdx_id(package):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", f"{package['name']}-{package['version']}")


def describe(package, digests):
    license = (package["license"] or "NOASSERTION").replace("/", " OR ")
    entry = {
        "SPDXID": spdx_id(package),
        "name": package["name"],
        "versionInfo": package["version"],
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": license,
        "licenseDeclared": license,
        "copyrightText": "NOASSERTION",
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:cargo/{package['name']}@{package['version']}",
            }
        ],
    }
    digest = digests.get((package["name"], package["version"]))
    if digest:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": digest}]
    return entry


def document(metadata, lock, created):
    root, ids, pairs = linked(metadata)
    packages = {package["id"]: package for package in metadata["packages"]}
    digests = checksums(lock)
    name = f"{packages[root]['name']}-{packages[root]['version']}"
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", spdx_id(packages[root]))]
    relations += sorted((spdx_id(packages[a]), "DEPENDS_ON", spdx_id(packages[b])) for a, b in pairs)
    keys = ("spdxElementId", "relationshipType", "relatedSpdxElement")
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{hashlib.sha256(lock.encode()).hexdigest()}",
        "creationInfo": {"created": created, "creators": ["Tool: tools/sbom.py"]},
        "packages": sorted((describe(packages[i], digests) for i in ids), key=lambda p: p["SPDXID"]),
        "relationships": [dict(zip(keys, relation)) for relation in relations],
    }


def main():
    created = datetime.datetime.fromtimestamp(int(sys.argv[1]), datetime.timezone.utc)
    with open("Cargo.lock", encoding="utf-8") as file:
        lock = file.read()
    json.dump(document(json.load(sys.stdin), lock, created.strftime("%Y-%m-%dT%H:%M:%SZ")), sys.stdout, indent=1)
    print()


main()
