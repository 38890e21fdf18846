#!/usr/bin/env bash
# Checks that the files here are those of npm's package, and that the package is the one of this digest.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=2.4.0
# What `npm view @noble/hashes@2.4.0 dist.integrity` says.
integrity=sha512-X5XaVWZIBCT7HHZGm5I7ZQXDwLG+bGXuSrMQAW+7Zvl87h1kmc1ZB1VSRJcpUfoUrGQp4Fkoxm5kZ+Ms+aW+eA==

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
npm pack --silent "@noble/hashes@$version" >/dev/null
archive=noble-hashes-$version.tgz
found=sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)
[ "$found" = "$integrity" ] || { echo "check.sh: @noble/hashes $version is $found, expected $integrity" >&2; exit 1; }
tar xzf "$archive"
for file in sha3.js _u64.js utils.js LICENSE; do
    cmp "package/$file" "$here/$file"
done
echo "noble-hashes: as npm has $version"
