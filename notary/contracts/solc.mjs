#!/usr/bin/env node
// npm's solc in the clothes of the native one, for `forge --use`: forge asks for `--version`, and
// for `--standard-json` with all sources inline on standard input. Other flags set paths for
// imports from disk, of which there are none.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const TOOLS = resolve(process.env.MEDSEAL_TOOLS || "/tmp/medseal-tools");
const solc = createRequire(join(TOOLS, "package.json"))("solc");
const flags = process.argv.slice(2);

if (flags.includes("--version")) {
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}`);
} else if (flags.includes("--standard-json")) {
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
} else {
  console.error(`solc.mjs: only --version and --standard-json, not ${flags.join(" ")}`);
  process.exit(1);
}
