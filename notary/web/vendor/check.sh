#!/usr/bin/env bash
# Checks that the files here are those of npm's packages, and that the packages are the ones of these digests.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# check NAME VERSION INTEGRITY FILE...: the last is what `npm view @noble/NAME@VERSION dist.integrity` says.
check() {
    local name=$1 version=$2 integrity=$3 archive="noble-$1-$2.tgz" found
    shift 3
    npm pack --silent "@noble/$name@$version" >/dev/null
    found=sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w0)
    [ "$found" = "$integrity" ] || { echo "check.sh: @noble/$name $version is $found, expected $integrity" >&2; exit 1; }
    rm -rf package
    tar xzf "$archive"
    for file in "$@"; do
        cmp "package/$file" "$here/noble-$name/$file"
    done
    echo "noble-$name: as npm has $version"
}

check hashes 2.4.0 \
    sha512-X5XaVWZIBCT7HHZGm5I7ZQXDwLG+bGXuSrMQAW+7Zvl87h1kmc1ZB1VSRJcpUfoUrGQp4Fkoxm5kZ+Ms+aW+eA== \
    sha3.js _u64.js utils.js LICENSE
check secp256k1 3.2.0 \
    sha512-Z3ZAWOTxJ0EuTuZTi7Y69iK7GgrLHh8sgm45lVDhg/b3Nk1TpAiKhick2KkZisHuupeepSkyIydN/J459SdX1w== \
    index.js LICENSE
