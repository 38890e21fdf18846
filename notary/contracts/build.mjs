// Compiles the contracts of src into artifacts/, which are committed so that the Rust side needs no Solidity compiler.
//
//   node build.mjs           writes the artifacts
//   node build.mjs --check   compiles and compares with what is committed; exit 1 if they differ
//
// The compiler is the `solc` that package-lock.json pins, from $MEDSEAL_TOOLS/node_modules, where
// ci.sh installs it, with the libraries that the contracts import: never from the tree.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const TOOLS = resolve(process.env.MEDSEAL_TOOLS || "/tmp/medseal-tools");
const CONTRACTS = ["NotaryAnchor", "ConsentRegistry", "Participants", "Successors"];

// The same as in foundry.toml; the tests hold the two to the same bytecode.
const SETTINGS = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 10000 },
  metadata: { bytecodeHash: "none", appendCBOR: false },
};

function fail(why) {
  console.error(`build.mjs: ${why}`);
  process.exit(1);
}

function loadSolc() {
  const pinned = JSON.parse(readFileSync(join(HERE, "package.json"), "utf8")).devDependencies.solc;
  let solc;
  try {
    solc = createRequire(join(TOOLS, "package.json"))("solc");
  } catch (error) {
    fail(`no solc in ${TOOLS} (${error.code}): run ./ci.sh, or set MEDSEAL_TOOLS`);
  }
  if (!solc.version().startsWith(`${pinned}+`)) {
    fail(`solc in ${TOOLS} is ${solc.version()}, package.json pins ${pinned}: run ./ci.sh`);
  }
  return solc;
}

// Where a source lies: ours here, what npm brings in TOOLS.
function place(path) {
  return path.startsWith("@") ? join(TOOLS, "node_modules", path) : join(HERE, path);
}

// The source at `path` and all it imports, by the names that they import each other under.
function readSources(path, found = {}) {
  if (path in found) return found;
  const content = readFileSync(place(path), "utf8");
  found[path] = { content };
  for (const [, target] of content.matchAll(/^import\s[^;]*?"([^"]+)";/gm)) {
    readSources(target.startsWith(".") ? posix.join(posix.dirname(path), target) : target, found);
  }
  return found;
}

// Each contract is compiled with its own sources alone, so that its artifact changes with nothing else.
function compile(solc, contract, main, sources) {
  const input = {
    language: "Solidity",
    sources,
    settings: {
      ...SETTINGS,
      outputSelection: {
        "*": { [contract]: ["abi", "evm.bytecode.object", "evm.deployedBytecode", "storageLayout"] },
      },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  // A warning stops the build too: what is committed compiles clean.
  if (output.errors?.length) fail(output.errors.map((e) => e.formattedMessage).join("\n"));
  return output.contracts[main][contract];
}

// The numbers in AST ids and type names depend on what else is compiled; the layout does not.
function stableLayout({ storage, types }) {
  const stable = (name) => name.replace(/\)\d+_/g, ")_");
  return {
    storage: storage.map(({ label, slot, offset, type }) => ({ label, slot, offset, type: stable(type) })),
    types: Object.fromEntries(Object.entries(types).map(([name, type]) => [stable(name), type])),
  };
}

function sortKeys(value) {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortKeys(value[key])]));
}

function buildArtifact(solc, contract) {
  const main = `src/${contract}.sol`;
  const sources = readSources(main);
  const { abi, evm, storageLayout } = compile(solc, contract, main, sources);
  const sourceSha256 = Object.fromEntries(
    Object.entries(sources).map(([path, { content }]) => [path, createHash("sha256").update(content).digest("hex")]),
  );
  return {
    contract,
    solc: solc.version(),
    settings: SETTINGS,
    sourceSha256: sortKeys(sourceSha256),
    abi: sortKeys(abi),
    bytecode: `0x${evm.bytecode.object}`,
    deployedBytecode: `0x${evm.deployedBytecode.object}`,
    // Where the constructor writes the immutables (of NotaryAnchor `notary`, 32 bytes, left-padded) into
    // deployedBytecode, whose own bytes there are zero. By position, in order.
    immutableReferences: Object.values(evm.deployedBytecode.immutableReferences).flat(),
    storageLayout: sortKeys(stableLayout(storageLayout)),
  };
}

function check(path, artifact, text) {
  let committed;
  try {
    committed = readFileSync(join(HERE, path), "utf8");
  } catch {
    fail(`${path} is missing: run node build.mjs`);
  }
  if (committed !== text) {
    fail(`${path} is not what the sources compile to (${differences(committed, artifact)}): run node build.mjs`);
  }
  console.log(`${path} is what src/${artifact.contract}.sol compiles to with solc ${artifact.solc}`);
}

function differences(committed, artifact) {
  let old = {};
  try {
    old = JSON.parse(committed);
  } catch {
    // Not JSON: every part differs.
  }
  const parts = [...new Set([...Object.keys(artifact), ...Object.keys(old)])].filter(
    (key) => JSON.stringify(artifact[key]) !== JSON.stringify(old[key]),
  );
  return parts.join(", ") || "layout of the file";
}

function write(path, artifact, text) {
  mkdirSync(dirname(join(HERE, path)), { recursive: true });
  writeFileSync(join(HERE, path), text);
  console.log(`wrote ${path}: ${(artifact.deployedBytecode.length - 2) / 2} bytes deployed, solc ${artifact.solc}`);
}

const [, , mode] = process.argv;
if (mode !== undefined && mode !== "--check") fail(`unknown argument ${mode}: none, or --check`);
const solc = loadSolc();
for (const contract of CONTRACTS) {
  const artifact = buildArtifact(solc, contract);
  const text = `${JSON.stringify(artifact, null, 2)}\n`;
  (mode === "--check" ? check : write)(`artifacts/${contract}.json`, artifact, text);
}
