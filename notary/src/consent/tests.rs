//! The vectors that Solidity holds to as well, and the laws of the mirror.

#![cfg(test)]

use super::*;
use alloy_primitives::{Address, B256, Bytes, U256};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/consent.json")).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn registry(file: &Value) -> Registry {
    Registry { chain_id: read(&file["chainId"]), contract: read(&file["contract"]) }
}

fn terms(file: &Value, hash: &Value) -> Terms {
    let found = file["terms"].as_array().unwrap().iter().find(|terms| terms["hash"] == *hash).unwrap();
    let mut found = found.as_object().unwrap().clone();
    found.retain(|name, _| !["hash", "notAfter"].contains(&name.as_str()));
    read(&Value::Object(found))
}

fn openings(file: &Value) -> Vec<(Opening, Value)> {
    let of = |case: &Value| {
        let signature: Option<Bytes> = read(&case["signature"]);
        let (custodian, terms) = (read(&case["custodian"]), terms(file, &case["terms"]));
        let (tag, not_after, salt) = (read(&case["tag"]), read(&case["notAfter"]), read(&case["salt"]));
        (Opening { custodian, terms, tag, not_after, salt, signature }, case.clone())
    };
    file["sealed"].as_array().unwrap().iter().map(of).collect()
}

fn preimage(case: &Value) -> Preimage {
    Preimage(read::<B256>(&case["preimage"]).0)
}

#[test]
fn sealed_grants_are_those_of_the_vectors() {
    let file = vectors();
    let registry = registry(&file);
    for (opening, case) in openings(&file) {
        assert_eq!(opening.terms.hash(), read::<B256>(&case["terms"]));
        assert_eq!(opening.digest(&registry), read::<B256>(&case["digest"]));
        assert_eq!(opening.sealed(&registry).commitment, read::<B256>(&case["commitment"]));
        assert_eq!(opening.key(&registry), read(&case["key"]));
        assert!(opening.is_revoked_by(&preimage(&case)) && !opening.is_revoked_by(&Preimage([1; 32])));
        let word: U256 = read(&case["word"]);
        assert_eq!(Word::from(word), Word { tag: opening.tag, not_after: opening.not_after, revoked_at: None });
        assert_eq!(Into::<U256>::into(Word::from(word)), word);
        let again: Opening = read(&serde_json::to_value(&opening).unwrap());
        assert_eq!(again, opening);
    }
}

#[test]
fn who_signed_is_found_out() {
    let file = vectors();
    let registry = registry(&file);
    let accounts: Vec<Address> = file["direct"].as_array().unwrap().iter().map(|one| read(&one["grantor"])).collect();
    let signers: Vec<Instructed> =
        openings(&file).iter().map(|(opening, _)| opening.instructed(&registry).unwrap()).collect();
    assert_eq!(signers[0], Instructed::Signed(Signer::Wallet(accounts[0])));
    let Instructed::Signed(Signer::Passkey { address, site }) = signers[1] else { panic!("{signers:?}") };
    assert_eq!(address, accounts[1]);
    assert_eq!(site.0, crate::commitment::Digest::of(b"portal.example").0);
    assert_eq!(signers[2], Instructed::Recorded);
}

#[test]
fn direct_grants_are_those_of_the_vectors() {
    let file = vectors();
    let registry = registry(&file);
    for case in file["direct"].as_array().unwrap() {
        let (grantor, terms, not_after): (Address, B256, u64) =
            (read(&case["grantor"]), read(&case["terms"]), read(&case["notAfter"]));
        let key = registry.direct_key(grantor, terms, not_after);
        assert_eq!(key, read(&case["key"]));
        let grant = registry.grant_digest(grantor, terms, not_after);
        assert_eq!(grant, read::<B256>(&case["grantDigest"]));
        let revocation = registry.revocation_digest(grantor, key);
        assert_eq!(revocation, read::<B256>(&case["revocationDigest"]));
        for (digest, proof) in [(grant, &case["grantProof"]), (revocation, &case["revocationProof"])] {
            assert_eq!(signer(digest, &read::<Bytes>(proof)).unwrap().address(), grantor);
        }
    }
}

/// The same list is given to the contract (`ConsentVectors.t.sol`).
#[test]
fn proofs_hold_where_the_contract_says_so() {
    let file = vectors();
    let proofs = file["proofs"].as_array().unwrap();
    assert!(proofs.len() > 15);
    for case in proofs {
        let (digest, account): (B256, Address) = (read(&case["digest"]), read(&case["account"]));
        let found = signer(digest, &read::<Bytes>(&case["proof"]));
        let holds = found.is_ok_and(|signer| signer.address() == account);
        assert_eq!(holds, case["holds"].as_bool().unwrap(), "{}: {found:?}", case["what"]);
    }
}

fn der(numbers: [&[u8]; 2]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let short: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let zero = if short[0] >= 0x80 { vec![0] } else { vec![] };
        [vec![2, (zero.len() + short.len()) as u8], zero, short].concat()
    };
    let body: Vec<u8> = numbers.into_iter().flat_map(integer).collect();
    [vec![0x30, body.len() as u8], body].concat()
}

/// The proof of the vectors, from what a browser would have given, with either form of the signature.
#[test]
fn an_assertion_of_a_browser_becomes_a_proof() {
    let file = vectors();
    let case = file["proofs"].as_array().unwrap().iter().find(|case| case["what"] == "a passkey's assertion").unwrap();
    let proof: Bytes = read(&case["proof"]);
    let key: &[u8; 64] = proof[..64].try_into().unwrap();
    let (r, s) = (&proof[64..96], &proof[96..128]);
    let text = |at: usize| U256::from_be_slice(&proof[at..at + 32]).to::<usize>();
    let (authenticator_at, client_at) = (64 + text(64 + 128), 64 + text(64 + 160));
    let part = |at: usize| &proof[at + 32..at + 32 + text(at)];
    let client = std::str::from_utf8(part(client_at)).unwrap();
    let order = U256::from_str_radix("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16).unwrap();
    let high: [u8; 32] = (order - U256::from_be_slice(s)).to_be_bytes();
    for s in [s, &high] {
        let made = passkey_proof(key, part(authenticator_at), client, &der([r, s])).unwrap();
        assert_eq!(made, proof);
    }
    let whole = der([r, s]);
    for bad in [&whole[1..], &whole[..whole.len() - 1], &[whole.clone(), vec![0]].concat(), &[0x30, 0], &[]] {
        assert_eq!(passkey_proof(key, part(authenticator_at), client, bad), Err(ProofError::Form));
    }
    assert_eq!(passkey_proof(key, part(authenticator_at), "{}", &whole), Err(ProofError::Form));
}

#[test]
fn no_changed_byte_of_a_signature_holds() {
    let file = vectors();
    let registry = registry(&file);
    for (opening, _) in openings(&file).into_iter().filter(|(opening, _)| opening.signature.is_some()) {
        let signed = opening.instructed(&registry).unwrap();
        let signature = opening.signature.clone().unwrap();
        for at in 0..signature.len() {
            let mut changed = signature.to_vec();
            changed[at] ^= 1 << (at % 8);
            let other = Opening { signature: Some(changed.into()), ..opening.clone() };
            assert_ne!(other.instructed(&registry).ok(), Some(signed), "a bit of byte {at}");
            assert_ne!(other.key(&registry), opening.key(&registry));
        }
        for other in [
            Opening { not_after: opening.not_after + 1, ..opening.clone() },
            Opening { tag: Preimage([9; 32]).tag(), ..opening.clone() },
            Opening { terms: Terms { records: "all".into(), ..opening.terms.clone() }, ..opening.clone() },
        ] {
            assert_ne!(other.instructed(&registry).ok(), Some(signed));
        }
        let elsewhere = Registry { chain_id: 1, ..registry };
        assert_ne!(opening.instructed(&elsewhere).ok(), Some(signed), "a signature for another chain");
    }
}

fn events(file: &Value) -> Vec<(Event, Accumulator)> {
    let kind = |n: u64| [Kind::Succeeded, Kind::Registered, Kind::Granted, Kind::Revoked][n as usize];
    let of = |case: &Value| {
        let block = read::<u64>(&case["time"]) - 1_799_999_999;
        let (key, word) = (read(&case["key"]), read(&case["word"]));
        let event = Event { block, kind: kind(read(&case["kind"])), key, word };
        (event, Accumulator(read(&case["accumulator"])))
    };
    file["events"].as_array().unwrap().iter().map(of).collect()
}

fn point(number: u64) -> Point {
    Point { number, hash: B256::with_last_byte(number as u8) }
}

fn proved(number: u64, accumulator: Accumulator) -> Proved {
    Proved { point: point(number), accumulator: Some(accumulator) }
}

/// What a chain with these events holds at a block.
fn at(registry: Registry, events: &[Event], number: u64) -> Proved {
    let start = Accumulator::start(registry.chain_id, registry.contract);
    let until = events.iter().filter(|event| event.block <= number);
    proved(number, until.fold(start, |accumulator, event| accumulator.with(event)))
}

#[test]
fn the_mirror_comes_to_the_contracts_accumulator() {
    let file = vectors();
    let registry = registry(&file);
    let start = Accumulator::start(registry.chain_id, registry.contract);
    assert_eq!(start, Accumulator(read(&file["accumulator"])));
    let all = events(&file);
    let mut folded = start;
    for (event, accumulator) in &all {
        folded = folded.with(event);
        assert_eq!(folded, *accumulator);
    }
    assert_eq!(folded.count(), 8);
    let events: Vec<Event> = all.iter().map(|(event, _)| *event).collect();
    let mut mirror = Mirror::new(registry);
    let taken = mirror.take(&events, proved(97, folded), proved(97, folded), 1).unwrap();
    assert_eq!((taken.granted.len(), taken.revoked.len()), (3, 4));
    assert_eq!(mirror.successor(), Some(Address::from_word(events[7].key)));
    for (_, case) in openings(&file) {
        let standing = mirror.standing(read(&case["key"]), 1);
        let revoked = case["preimage"] != file["sealed"][1]["preimage"];
        assert_eq!(matches!(standing, Standing::Revoked { .. }), revoked, "{standing:?}");
    }
    assert_eq!(Mirror::restore(&mirror.to_json(), registry).unwrap(), mirror);
    let other = Registry { chain_id: 1, ..registry };
    assert_eq!(Mirror::restore(&mirror.to_json(), other), Err(MirrorError::OtherRegistry));
}

#[test]
fn whatever_is_withheld_or_changed_is_noticed() {
    let file = vectors();
    let registry = registry(&file);
    let events: Vec<Event> = events(&file).into_iter().map(|(event, _)| event).collect();
    let take = |shown: &[Event], last: u64| {
        Mirror::new(registry).take(shown, at(registry, &events, last), at(registry, &events, 97), 1)
    };
    assert!(take(&events, 61).is_ok());
    assert_eq!(take(&[], 61), Err(MirrorError::Withheld(5)));
    for n in 0..events.len() {
        let mut shown = events.clone();
        shown.remove(n);
        assert_eq!(take(&shown, 61), Err(MirrorError::Withheld(1)), "without event {n}");
        let mut shown = events.clone();
        shown[n].word ^= U256::from(1);
        assert_eq!(take(&shown, 61), Err(MirrorError::OtherEvents), "event {n} changed");
    }
    let mut shown = events.clone();
    shown.swap(0, 1);
    assert_eq!(take(&shown, 61), Err(MirrorError::OtherEvents), "in another order");
    let mut shown = events.clone();
    shown[4].block = 70;
    assert_eq!(take(&shown, 61), Err(MirrorError::Withheld(1)), "as if it had not settled");
    let mut shown = events.clone();
    shown.push(events[0]);
    assert_eq!(take(&shown, 61), Err(MirrorError::OtherEvents), "one too many");
}

fn register(block: u64, n: u8) -> Event {
    let word = Word { tag: Preimage([n; 32]).tag(), not_after: 1_000, revoked_at: None };
    Event { block, kind: Kind::Registered, key: B256::with_last_byte(n), word: word.into() }
}

fn revoke(block: u64, n: u8) -> Event {
    let word = Word { revoked_at: Some(block), ..Word::from(register(block, n).word) };
    Event { kind: Kind::Revoked, word: word.into(), ..register(block, n) }
}

fn key(n: u8) -> GrantKey {
    GrantKey(B256::with_last_byte(n))
}

const HERE: Registry = Registry { chain_id: 7, contract: Address::ZERO };

fn follow(mirror: &mut Mirror, chain: &[Event], last: u64, newest: u64, now: u64) -> Result<Taken, MirrorError> {
    let settled = mirror.settled().map(|point| point.number);
    let behind = |event: &&Event| settled.is_none_or(|settled| event.block > settled) && event.block <= newest;
    let events: Vec<Event> = chain.iter().filter(behind).copied().collect();
    mirror.take(&events, at(HERE, chain, last), at(HERE, chain, newest), now)
}

#[test]
fn grants_count_when_they_settle_and_revocations_when_they_are_seen() {
    let mut mirror = Mirror::new(HERE);
    assert_eq!(mirror.allow(key(1), 5, 60), Err(Refusal::Unread));
    let chain = [register(3, 1), revoke(5, 1), register(6, 2)];
    follow(&mut mirror, &chain, 2, 4, 10).unwrap();
    assert_eq!(mirror.allow(key(1), 10, 60), Err(Refusal::Pending));
    follow(&mut mirror, &chain, 3, 4, 11).unwrap();
    assert!(mirror.allow(key(1), 11, 60).is_ok());
    let taken = follow(&mut mirror, &chain, 3, 5, 12).unwrap();
    assert_eq!(taken.revoked, [key(1)]);
    assert_eq!(mirror.allow(key(1), 12, 60), Err(Refusal::Revoked));
    // That block goes, and so does the other registration.
    let chain = [register(3, 1), register(6, 3)];
    follow(&mut mirror, &chain, 4, 7, 13).unwrap();
    assert_eq!(mirror.standing(key(1), 13), Standing::Revoked { at: 5 });
    assert_eq!(mirror.standing(key(2), 13), Standing::Unknown);
    follow(&mut mirror, &chain, 7, 7, 14).unwrap();
    assert!(mirror.allow(key(3), 14, 60).is_ok());
    assert_eq!(mirror.allow(key(3), 1_001, 9_999), Err(Refusal::Lapsed));
    assert_eq!(mirror.allow(key(3), 75, 60), Err(Refusal::Stale(61)));
    assert_eq!(mirror.allow(key(4), 75, 60), Err(Refusal::Stale(61)), "it may have come meanwhile");
    let behind = follow(&mut mirror, &chain, 4, 6, 15);
    assert_eq!(behind, Err(MirrorError::Behind { newest: 6, settled: 7 }));
    mirror.begin_again();
    assert_eq!(mirror.standing(key(1), 16), Standing::Revoked { at: 5 });
    assert_eq!(mirror.standing(key(3), 16), Standing::Unknown);
}

#[test]
fn a_revocation_sticks_though_the_rest_is_refused() {
    let mut mirror = Mirror::new(HERE);
    let chain = [register(3, 1), register(3, 2), revoke(5, 1)];
    follow(&mut mirror, &chain[..2], 4, 4, 10).unwrap();
    let withheld =
        mirror.take(&[chain[2]], at(HERE, &chain, 4), at(HERE, &[chain[0], chain[1], revoke(4, 2), chain[2]], 6), 11);
    assert_eq!(withheld, Err(MirrorError::Withheld(1)));
    assert_eq!(mirror.allow(key(1), 11, 60), Err(Refusal::Revoked));
    assert!(mirror.allow(key(2), 11, 60).is_ok());
    assert_eq!(mirror.agreed_at(), Some(10), "that was no agreement");
    assert_eq!(mirror.reveal(&Preimage([2; 32]), 12), [key(2)]);
    assert_eq!(mirror.reveal(&Preimage([2; 32]), 12), []);
    assert_eq!(mirror.allow(key(2), 12, 60), Err(Refusal::Revoked));
}

#[test]
fn a_code_is_read_back_and_a_slip_is_noticed() {
    let code = RevocationCode { registry: HERE, key: key(1), preimage: Preimage([0xa5; 32]) };
    let text = code.to_text();
    assert_eq!(RevocationCode::parse(&text).unwrap(), code);
    assert_eq!(format!("{code:?} {:?}", code.preimage), "RevocationCode(<redacted>) Preimage(<redacted>)");
    let secret = code.preimage.to_code();
    let typed = secret.to_lowercase().replace('-', " ").replace('1', "l").replace('0', "o");
    assert_eq!(Preimage::from_code(&typed).map(|read| read == code.preimage), Err(CodeError::Secret), "MSR1 as MSRl");
    let typed = format!("msr1 {}", secret[5..].to_lowercase().replace('-', " ").replace('0', "o").replace('1', "i"));
    assert!(Preimage::from_code(&typed).unwrap() == code.preimage);
    for at in 5..secret.len() {
        let mut slip = secret.clone().into_bytes();
        slip[at] = if slip[at] == b'7' { b'8' } else { b'7' };
        let read = Preimage::from_code(std::str::from_utf8(&slip).unwrap());
        assert!(read.is_err() || slip[at] == b'-', "a slip at {at}");
    }
    for (from, to, error) in [
        ("chain: 7", "chain: 8", CodeError::Check),
        ("chain: 7", "chain: x", CodeError::Line("chain")),
        ("medseal-revocation/1", "medseal-revocation/2", CodeError::Format),
        ("grant: 0x00", "grant: 0x01", CodeError::Check),
    ] {
        assert_eq!(RevocationCode::parse(&text.replace(from, to)), Err(error), "{from}");
    }
}

proptest! {
    /// Whatever a chain does short of changing what is final: what was ever seen revoked stays so, and what is allowed
    /// stands settled on it.
    #[test]
    fn revoked_is_revoked(steps in prop::collection::vec((0_u64..4, any::<bool>(), 1_u8..6, 0_u64..3), 1..40)) {
        let (mut mirror, mut chain, mut newest) = (Mirror::new(HERE), Vec::<Event>::new(), 10);
        let mut seen = std::collections::BTreeSet::new();
        for (now, (undone, revokes, n, more)) in steps.into_iter().enumerate() {
            // A reorganisation of up to three blocks, then another event, then blocks above it; finality lies four
            // deep.
            chain.retain(|event| event.block + undone <= newest);
            let registered = chain.iter().any(|event: &Event| event.key == register(0, n).key);
            let revoked = chain.iter().any(|event| event.key == register(0, n).key && event.kind == Kind::Revoked);
            newest += 1;
            match (revokes, registered, revoked) {
                (true, _, false) => chain.push(revoke(newest, n)),
                (false, false, _) => chain.push(register(newest, n)),
                _ => {}
            }
            newest += more;
            follow(&mut mirror, &chain, newest.saturating_sub(4), newest, now as u64).unwrap();
            seen.extend(chain.iter().filter(|event| event.kind == Kind::Revoked).map(|event| GrantKey(event.key)));
            for n in 1..6 {
                let allowed = mirror.allow(key(n), now as u64, 60).is_ok();
                prop_assert!(!(allowed && seen.contains(&key(n))));
                let settled = chain.iter().any(|event| event.key == key(n).0 && event.block <= newest - 4);
                prop_assert_eq!(allowed, settled && !seen.contains(&key(n)));
            }
            mirror = Mirror::restore(&mirror.to_json(), HERE).unwrap();
        }
    }
}
