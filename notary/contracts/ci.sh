#!/usr/bin/env bash
# Checks the contracts from nothing but Node, npm and (for the vectors) Python.
#
#   ./ci.sh            checks the artifacts, the vectors, the formatting, the tests, the gas and its page
#   ./ci.sh --update   writes artifacts, vectors, formatting, gas snapshots and docs/gas.md anew, then tests
#
# Libraries, compiler and test runner go to $MEDSEAL_TOOLS (default /tmp/medseal-tools), and the work is done on
# a copy there: the tree gets no node_modules, out or cache.

set -euo pipefail

tree=$(cd "$(dirname "$0")" && pwd)
mode=${1:-check}

case $mode in
  check | --update) ;;
  *) echo "ci.sh: unknown argument $mode: none, or --update" >&2; exit 2 ;;
esac

mkdir -p "${MEDSEAL_TOOLS:=/tmp/medseal-tools}"
MEDSEAL_TOOLS=$(cd "$MEDSEAL_TOOLS" && pwd)
export MEDSEAL_TOOLS

# forge comes as one package a platform. The package @foundry-rs/forge, which picks among them, names
# some that the registry does not have, and npm ci refuses that.
# The stamp is the lock file itself, laid beside node_modules once the install is complete.
if ! cmp -s "$tree/package-lock.json" "$MEDSEAL_TOOLS/installed-lock.json"; then
  rm -f "$MEDSEAL_TOOLS/installed-lock.json"
  cp "$tree/package.json" "$tree/package-lock.json" "$MEDSEAL_TOOLS/"
  npm ci --prefix "$MEDSEAL_TOOLS" --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$tree/package-lock.json" "$MEDSEAL_TOOLS/installed-lock.json"
fi
forge() { "$MEDSEAL_TOOLS/node_modules/.bin/forge" "$@"; }

if [ "$mode" = --update ]; then
  forge fmt --root "$tree"
  node "$tree/build.mjs"
  python3 "$tree/../vectors/make_tree.py"
  python3 "$tree/../vectors/make_seals.py"
  node "$tree/../vectors/make_consent.mjs"
else
  forge fmt --root "$tree" --check
  node "$tree/build.mjs" --check
  python3 "$tree/../vectors/make_tree.py" --check
  python3 "$tree/../vectors/make_seals.py" --check
  node "$tree/../vectors/make_consent.mjs" --check
fi

scratch=$(mktemp -d "$MEDSEAL_TOOLS/run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cp -R "$tree" "$scratch/contracts"
cp -R "$tree/../vectors" "$scratch/vectors"
cd "$scratch/contracts"
ln -s "$MEDSEAL_TOOLS/node_modules" node_modules

# The gas is measured from nothing and compared here, since forge's own check passes what is missing.
rm -f snapshots/*.json
FORGE_SNAPSHOT_CHECK=false forge test --offline --use "$PWD/solc.mjs"
if [ "$mode" = --update ]; then
  cp snapshots/*.json "$tree/snapshots/"
  node "$tree/gas.mjs"
fi
if ! diff -u "$tree/snapshots" snapshots; then
  echo "ci.sh: gas is not what snapshots/ says: run ./ci.sh --update and commit the difference" >&2
  exit 1
fi
node "$tree/gas.mjs" --check
