// Deterministic ECDSA (RFC 6979, SHA-256) in plain arithmetic, for make_consent.mjs: the vectors must come out the
// same every time, and Node signs with random numbers. Slow, and not for secrets: nothing here is constant in time.

import { createHmac } from "node:crypto";

const hex = (n) => n.toString(16).padStart(64, "0");
const int = (bytes) => BigInt(`0x${Buffer.from(bytes).toString("hex")}`);

export const SECP256K1 = {
  p: 2n ** 256n - 2n ** 32n - 977n,
  a: 0n,
  n: 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n,
  g: [
    0x79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798n,
    0x483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8n,
  ],
};

export const P256 = {
  p: 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n,
  a: -3n,
  n: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  g: [
    0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
    0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
  ],
};

const mod = (x, m) => ((x % m) + m) % m;

function inverse(x, m) {
  let [r, next, s, t] = [m, mod(x, m), 0n, 1n];
  while (next !== 0n) [r, next, s, t] = [next, r % next, t, s - (r / next) * t];
  return mod(s, m);
}

// The point at infinity is null.
function add({ p, a }, left, right) {
  if (left === null || right === null) return left ?? right;
  const [[x1, y1], [x2, y2]] = [left, right];
  if (x1 === x2 && mod(y1 + y2, p) === 0n) return null;
  const slope = x1 === x2 ? (3n * x1 * x1 + a) * inverse(2n * y1, p) : (y2 - y1) * inverse(x2 - x1, p);
  const x = mod(slope * slope - x1 - x2, p);
  return [x, mod(slope * (x1 - x) - y1, p)];
}

function multiply(curve, k, point) {
  let sum = null;
  for (; k > 0n; k >>= 1n, point = add(curve, point, point)) {
    if (k & 1n) sum = add(curve, sum, point);
  }
  return sum;
}

export const publicKey = (curve, secret) => multiply(curve, secret, curve.g);

// RFC 6979 section 3.2, where hash and order have 256 bits both. The second try is never needed in practice.
function nonce({ n }, secret, digest) {
  const mac = (key, ...parts) => createHmac("sha256", key).update(Buffer.concat(parts)).digest();
  const seed = Buffer.from(hex(secret) + hex(mod(int(digest), n)), "hex");
  let [k, v] = [Buffer.alloc(32, 0), Buffer.alloc(32, 1)];
  for (const byte of [0, 1]) {
    k = mac(k, v, Buffer.from([byte]), seed);
    v = mac(k, v);
  }
  const candidate = int(mac(k, v));
  if (candidate === 0n || candidate >= n) throw new Error("take another key");
  return candidate;
}

// The signature with the lower of the two possible s, and the parity of the point that it comes from.
export function sign(curve, secret, digest) {
  const k = nonce(curve, secret, digest);
  const [x, y] = multiply(curve, k, curve.g);
  const r = mod(x, curve.n);
  const s = mod(inverse(k, curve.n) * (int(digest) + r * secret), curve.n);
  const high = s > curve.n / 2n;
  return { r, s: high ? curve.n - s : s, odd: (y & 1n) !== (high ? 1n : 0n) };
}

export { hex };
