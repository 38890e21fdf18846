// Writes docs/gas.md from snapshots/, which forge measures: what each operation costs, and what that is for each
// resource or grant.
//
//   node gas.mjs           writes the page
//   node gas.mjs --check   compares with what is committed; exit 1 if they differ

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("../../docs/gas.md", import.meta.url));

const snapshot = (contract) =>
  Object.entries(JSON.parse(readFileSync(new URL(`snapshots/${contract}.json`, import.meta.url), "utf8"))).map(
    ([operation, gas]) => ({ operation, gas: Number(gas) }),
  );
const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");
const table = (head, rows) =>
  [head, head.map((_, i) => (i === 0 ? "---" : "---:")), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");

// How many resources an anchor speaks for, or grants a batch: the name of the operation says so.
function anchored(operation) {
  const [, from, to] = operation.match(/^anchor: (\d+) to (\d+),/) ?? [];
  return to === undefined ? undefined : Number(to) - Number(from);
}
const batch = (operation) => Number(operation.match(/ of (\d+)$/)?.[1] ?? 1);

function anchors() {
  const rows = snapshot("NotaryAnchor").map(({ operation, gas }) => {
    const resources = anchored(operation);
    const each = resources === undefined ? "" : (gas / resources).toFixed(resources > 1 ? 2 : 0);
    return [operation, count(gas), resources === undefined ? "" : count(resources), count(each)];
  });
  return table(["operation", "gas", "resources", "gas a resource"], rows);
}

function consents() {
  const rows = snapshot("ConsentRegistry")
    .sort((one, other) => batch(one.operation) - batch(other.operation))
    .map(({ operation, gas }) => [operation, count(gas), count(Math.round(gas / batch(operation)))]);
  return table(["operation", "gas", "gas a grant"], rows);
}

function participants() {
  return table(["operation", "gas"], snapshot("Participants").map(({ operation, gas }) => [operation, count(gas)]));
}

const page = `# Gas

Made by \`node notary/contracts/gas.mjs\` from \`notary/contracts/snapshots/\`; \`ci.sh\` measures them again and refuses a
difference. Each is a transaction of its own: with the 21,000 that any costs, calldata, and storage that is not warm.
\`verifyInclusion\` is a view, and its figure what it costs the contract that calls it. Rules of Cancun; a chain with
EIP-7623 (Prague) counts calldata otherwise, which makes no difference to transactions that store as much as these.

## Anchoring: \`NotaryAnchor\`

One anchor costs much the same whatever it stands for: the hashes of the consistency proof grow with the logarithm of
the log, and nothing else grows.

${anchors()}

## Consent: \`ConsentRegistry\`

A grant is one new slot of 22,100 gas: registering cannot cost less. Revoking writes the same slot again, for 5,000.

${consents()}

A signature of a passkey costs the difference where the chain has no precompile for P-256 (RIP-7212, EIP-7951): with it,
the check itself is 3,450 (RIP-7212) or 6,900 gas (EIP-7951).

## Participants

${participants()}
`;

const [, , mode] = process.argv;
if (mode === "--check") {
  let committed = "";
  try {
    committed = readFileSync(PAGE, "utf8");
  } catch {
    // Missing: not what would be written.
  }
  if (committed !== page) {
    console.error("gas.mjs: docs/gas.md is not what the snapshots say: run node gas.mjs");
    process.exit(1);
  }
} else if (mode === undefined) {
  writeFileSync(PAGE, page);
} else {
  console.error(`gas.mjs: unknown argument ${mode}: none, or --check`);
  process.exit(1);
}
