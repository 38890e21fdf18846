#!/usr/bin/env node
// Makes consent.json: grants, what patients sign for them, and the accumulator of a ConsentRegistry, as
// contracts/src/interfaces/IConsentRegistry.sol describes them. Shared by Rust, Solidity and anyone else's verifier, so
// this uses nothing of medseal: Node, and js-sha3 from $MEDSEAL_TOOLS for Keccak, which Node lacks.
//
//   node make_consent.mjs            writes consent.json beside this file
//   node make_consent.mjs --check    exit 1 if consent.json is not what would be written

import { createHash, createHmac, createPublicKey, verify } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { P256, SECP256K1, hex, publicKey, sign } from "./curve.mjs";

const FILE = new URL("consent.json", import.meta.url);
const TOOLS = resolve(process.env.MEDSEAL_TOOLS || "/tmp/medseal-tools");
const { keccak256: keccakHex } = createRequire(join(TOOLS, "package.json"))("js-sha3");

// Bytes and words. An ABI word is 32 bytes; numbers and addresses stand right in it, bytes20 left.
const bytes = (text) => Buffer.from(text.replace(/^0x/, ""), "hex");
const text = (buffer) => `0x${buffer.toString("hex")}`;
const keccak = (...parts) => Buffer.from(keccakHex(Buffer.concat(parts)), "hex");
const sha256 = (...parts) => createHash("sha256").update(Buffer.concat(parts)).digest();
const word = (number) => bytes(hex(BigInt(number)));
const left = (buffer) => Buffer.concat([buffer, Buffer.alloc(32 - buffer.length)]);
const ascii = (string) => Buffer.from(string, "utf8");
const lp = (string) => Buffer.concat([bytes(hex(BigInt(ascii(string).length)).slice(-8)), ascii(string)]);
// Secrets and salts of the vectors: anyone can make them again.
const invented = (name) => sha256(ascii(`medseal-vector-${name}`));
const named = (name) => keccak(ascii(name));

// EIP-712.
const TERMS = "Terms(string recipient,string purpose,string records,string until,bytes32 consent,bytes32 salt)";
const TYPES = {
  domain: "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
  terms: TERMS,
  grant: `ConsentGrant(address grantor,Terms terms,uint48 notAfter)${TERMS}`,
  revocation: "ConsentRevocation(string statement,address grantor,bytes32 key)",
  sealed: `SealedConsent(Terms terms,bytes20 tag,uint48 notAfter)${TERMS}`,
};
const STATEMENT = "I withdraw the consent with this key. This cannot be undone.";
const struct = (type, ...words) => keccak(named(type), ...words);

// The contract of the vectors: the first that its deployer creates.
const CHAIN_ID = 31337;
const DEPLOYER = bytes("0x6d65647365616c00000000000000000000000001");
const CONTRACT = keccak(Buffer.concat([bytes("0xd694"), DEPLOYER, bytes("0x80")])).subarray(12);
const ADMINISTRATOR = bytes("0x6d65647365616c00000000000000000000000002");
const DOMAIN = struct(
  TYPES.domain, named("medseal ConsentRegistry"), named("1"), word(CHAIN_ID), left20(CONTRACT),
);
const digest = (structHash) => keccak(bytes("0x1901"), DOMAIN, structHash);

function left20(address) {
  return Buffer.concat([Buffer.alloc(12), address]);
}

function terms(name, recipient, purpose, records, until) {
  const [consent, salt] = [invented(`consent ${name}`), invented(`terms ${name}`)];
  const hash = struct(TERMS, ...[recipient, purpose, records, until].map(named), consent, salt);
  return { recipient, purpose, records, until, consent: text(consent), salt: text(salt), hash: text(hash) };
}

// Accounts: a key of Ethereum's curve, and a passkey.
function signature(curve, secret, hash) {
  const made = sign(curve, secret, hash);
  requireNodeAgrees(curve, secret, hash, made);
  return made;
}

const WALLET = BigInt(text(invented("wallet")));
const PASSKEY = BigInt(text(invented("passkey")));
const addressOf = (curve, secret) => keccak(...publicKey(curve, secret).map((n) => word(n))).subarray(12);

function walletProof(hash) {
  const { r, s, odd } = signature(SECP256K1, WALLET, hash);
  return Buffer.concat([word(r), word(s), Buffer.from([odd ? 28 : 27])]);
}

// A WebAuthn assertion as a browser makes it, laid out as the contract takes it. What is not as it should be, the last
// argument says.
function passkeyProof(hash, other = {}) {
  const challenge = hash.toString("base64url");
  const ceremony = other.ceremony ?? `"type":"webauthn.get"`;
  const client = ascii(
    `{${ceremony},"challenge":"${challenge}","origin":"https://portal.example","crossOrigin":false}`,
  );
  // Of the site, user present and verified, counter 7.
  const [flags, counter] = [bytes(other.flags ?? "0x05"), bytes(other.counter ?? "0x00000007")];
  const authenticator = Buffer.concat([sha256(ascii("portal.example")), flags, counter]);
  const signed = sha256(authenticator, sha256(client));
  let { r, s } = signature(P256, PASSKEY, signed);
  if (other.high) s = P256.n - s;
  const padded = (buffer) =>
    Buffer.concat([word(buffer.length), buffer, Buffer.alloc((32 - (buffer.length % 32)) % 32)]);
  const first = padded(authenticator);
  return Buffer.concat([
    ...publicKey(P256, PASSKEY).map((n) => word(n)),
    word(r), word(s),
    word(other.challengeIndex ?? client.indexOf('"challenge"')), word(other.typeIndex ?? client.indexOf('"type"')),
    word(192), word(192 + first.length), first, padded(client),
  ]);
}

// The arithmetic of curve.mjs against OpenSSL's. Node hashes before it verifies, which Keccak digests forbid, so the
// same key signs the hash of the digest for it.
function requireNodeAgrees(curve, secret, hash, made) {
  const [x, y] = publicKey(curve, secret).map((n) => bytes(hex(n)).toString("base64url"));
  const key = createPublicKey({ key: { kty: "EC", crv: curve === P256 ? "P-256" : "secp256k1", x, y }, format: "jwk" });
  const again = sign(curve, secret, sha256(hash));
  const raw = Buffer.concat([word(again.r), word(again.s)]);
  if (made.r === 0n || !verify("sha256", hash, { key, dsaEncoding: "ieee-p1363" }, raw)) {
    throw new Error("curve.mjs does not sign as OpenSSL verifies");
  }
}

// Grants.
const pack = (tag, notAfter, revokedAt) =>
  Buffer.concat([tag, bytes(hex(BigInt(notAfter)).slice(-12)), bytes(hex(BigInt(revokedAt)).slice(-12))]);

function sealed(name, custodian, signed, proof) {
  const [preimage, salt] = [invented(`preimage ${name}`), invented(`salt ${name}`)];
  const tag = sha256(ascii("medseal/v1/revocation\0"), preimage).subarray(0, 20);
  const hash = digest(struct(TYPES.sealed, bytes(signed.hash), left(tag), word(signed.notAfter)));
  const evidence = proof ? proof(hash) : null;
  const message = [ascii("medseal/v1/grant\0"), lp(custodian), hash, ...(evidence ? [sha256(evidence)] : [])];
  const commitment = createHmac("sha256", salt).update(Buffer.concat(message)).digest();
  const key = keccak(named("medseal/v1/sealed-grant"), commitment, left(tag), word(signed.notAfter));
  return {
    custodian, terms: signed.hash, notAfter: signed.notAfter, preimage: text(preimage), tag: text(tag),
    digest: text(hash), signature: evidence && text(evidence), salt: text(salt), commitment: text(commitment),
    key: text(key), word: text(pack(tag, signed.notAfter, 0)),
  };
}

function direct(account, signed, proof) {
  const key = keccak(named("medseal/v1/direct-grant"), left20(account), bytes(signed.hash), word(signed.notAfter));
  const grant = digest(struct(TYPES.grant, left20(account), bytes(signed.hash), word(signed.notAfter)));
  const revocation = digest(struct(TYPES.revocation, named(STATEMENT), left20(account), key));
  return {
    grantor: text(account), terms: signed.hash, notAfter: signed.notAfter, grantDigest: text(grant),
    grantProof: text(proof(grant)), key: text(key), revocationDigest: text(revocation),
    revocationProof: text(proof(revocation)), word: text(pack(account, signed.notAfter, 0)),
  };
}

// Proofs that hold and proofs that do not, for the contract and for whoever verifies an opening.
function proofs() {
  const digest = invented("digest");
  const [wallet, passkey] = [addressOf(SECP256K1, WALLET), addressOf(P256, PASSKEY)];
  const good = walletProof(digest);
  const recovery = (v) => Buffer.concat([good.subarray(0, 64), Buffer.from([v])]);
  const mirrored = Buffer.concat([
    good.subarray(0, 32), word(SECP256K1.n - BigInt(text(good.subarray(32, 64)))), Buffer.from([good[64] ^ 7]),
  ]);
  const one = (what, account, proof, holds) =>
    ({ what, account: text(account), digest: text(digest), proof: text(proof), holds });
  const byPasskey = (what, other, holds = false) => one(what, passkey, passkeyProof(digest, other), holds);
  return [
    one("a wallet's signature", wallet, good, true),
    one("of another digest", wallet, walletProof(invented("other digest")), false),
    one("another account's", passkey, good, false),
    one("v counted from 0", wallet, recovery(good[64] - 27), false),
    one("the other v", wallet, recovery(good[64] ^ 7), false),
    one("the higher s", wallet, mirrored, false),
    one("without v", wallet, good.subarray(0, 64), false),
    one("nothing", wallet, Buffer.alloc(0), false),
    one("zeros", wallet, Buffer.alloc(65), false),
    byPasskey("a passkey's assertion", {}, true),
    byPasskey("by a passkey that is backed up", { flags: "0x1d" }, true),
    byPasskey("with extensions after the counter", { counter: "0x00000007a0" }, true),
    one("a passkey's, of another digest", passkey, passkeyProof(invented("other digest")), false),
    one("a passkey's, for another account", wallet, passkeyProof(digest), false),
    byPasskey("made when the passkey was created", { ceremony: `"type":"webauthn.create"` }),
    byPasskey("with a space in the client's data", { ceremony: `"type": "webauthn.get"` }),
    byPasskey("nobody was there", { flags: "0x04" }),
    byPasskey("nobody was asked for a finger or a code", { flags: "0x01" }),
    byPasskey("backed up, and may not be", { flags: "0x15" }),
    byPasskey("the higher s of a passkey", { high: true }),
    byPasskey("the type is elsewhere", { typeIndex: 2 }),
    byPasskey("the type is far outside", { typeIndex: 2n ** 200n }),
    byPasskey("the challenge is elsewhere", { challengeIndex: 22 }),
    byPasskey("the challenge is far outside", { challengeIndex: 2n ** 255n }),
    byPasskey("the authenticator's data end early", { counter: "0x000007" }),
    one("cut short", passkey, passkeyProof(digest).subarray(0, 250), false),
    one("the other half of the key", passkey, Buffer.concat([word(7), passkeyProof(digest).subarray(32)]), false),
  ];
}

// The accumulator.
function chain(events) {
  let now = Buffer.concat([
    keccak(named("medseal/v1/consent-registry"), word(CHAIN_ID), left20(CONTRACT)).subarray(0, 26), Buffer.alloc(6),
  ]);
  const start = text(now);
  const steps = events.map(({ time, call, of, kind, key, value }, i) => {
    const count = bytes(hex(BigInt(i + 1)).slice(-12));
    now = Buffer.concat([keccak(now, word(kind), key, value).subarray(0, 26), count]);
    return { time, call, of, kind, key: text(key), word: text(value), accumulator: text(now) };
  });
  return { start, steps };
}

function vectors() {
  const start = 1800000000;
  const until = (days) => start + days * 86400;
  const all = [
    { ...terms("a", "Härn Hospital", "treatment", "all records", "14 January 2028"), notAfter: until(364) },
    { ...terms("b", "Lab North", "treatment", "laboratory results", "25 January 2027"), notAfter: until(10) },
    { ...terms("c", "", "", "", ""), notAfter: until(36500) },
  ];
  const custodian = "urn:oid:2.16.840.1.113883.19.5";
  const hidden = [
    sealed("a", custodian, all[0], walletProof),
    sealed("b", "Härn Hospital", all[1], passkeyProof),
    sealed("c", "", all[2], null),
  ];
  const open = [
    direct(addressOf(SECP256K1, WALLET), all[0], walletProof),
    direct(addressOf(P256, PASSKEY), all[1], passkeyProof),
  ];
  const event = (time, call, of, kind, grant, revoked) => ({
    time: start + time, call, of, kind, key: bytes(grant.key),
    value: pack(bytes(grant.word).subarray(0, 20), grant.notAfter, revoked ? start + time : 0),
  });
  const { start: accumulator, steps } = chain([
    event(0, "registerSealed", 0, 1, hidden[0]),
    event(0, "registerSealed", 1, 1, hidden[1]),
    event(12, "grantDirect", 0, 2, open[0]),
    event(60, "revokeSealed", 0, 3, hidden[0], true),
    event(60, "forestallDirect", 1, 3, open[1], true),
    event(72, "revokeDirect", 0, 3, open[0], true),
    event(84, "forestallSealed", 2, 3, hidden[2], true),
    { time: start + 96, call: "nameSuccessor", of: 0, kind: 0, key: left20(CONTRACT.map((b) => b ^ 255)), value: word(0) },
  ]);
  return {
    format: "medseal-consent-vectors/1",
    chainId: CHAIN_ID,
    deployer: text(DEPLOYER),
    administrator: text(ADMINISTRATOR),
    contract: text(CONTRACT),
    types: TYPES,
    statement: STATEMENT,
    domainSeparator: text(DOMAIN),
    terms: all,
    sealed: hidden,
    direct: open,
    proofs: proofs(),
    accumulator,
    events: steps,
  };
}

const made = `${JSON.stringify(vectors(), null, 1)}\n`;
const [, , mode] = process.argv;
if (mode === "--check") {
  let committed = "";
  try {
    committed = readFileSync(FILE, "utf8");
  } catch {
    // Missing: not what would be written.
  }
  if (committed !== made) {
    console.error("consent.json is not what make_consent.mjs makes: run node make_consent.mjs");
    process.exit(1);
  }
} else if (mode === undefined) {
  writeFileSync(FILE, made);
} else {
  console.error(`make_consent.mjs: unknown argument ${mode}: none, or --check`);
  process.exit(1);
}
