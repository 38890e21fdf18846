//! What may be wrong with a receipt, with what is given beside it, or with the policy.

use crate::random::Random;
use crate::world::{Case, World};
use alloy_primitives::Address;
use notary::receipt::Receipt;
use notary::verify::Policy;
use serde_json::{Value, json};

/// Changes one thing, or seldom two; gives the receipt's bytes.
pub fn change(case: &mut Case, policy: &mut Policy, world: &World, random: &mut Random) -> Vec<u8> {
    let members = |case: &Case| serde_json::to_value(&case.receipt).unwrap();
    match random.below(9) {
        0 => given(case, world, random),
        6 => header(case, random),
        1 => trusted(policy, world, random),
        2 | 3 => return flipped(case.receipt.to_json().into_bytes(), random),
        4 => return spelled(&case.receipt, random),
        5 => proof(&mut case.receipt, world, random),
        _ => {
            let mut value = members(case);
            member(&mut value, world, random);
            if random.one_in(4) {
                given(case, world, random);
            }
            return serde_json::to_vec_pretty(&value).unwrap();
        }
    }
    case.receipt.to_json().into_bytes()
}

fn flipped(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    let at = random.below(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
    bytes
}

/// One bit of the block's header, which may be one of a seal.
fn header(case: &mut Case, random: &mut Random) {
    if let Some(anchor) = &mut case.receipt.anchor {
        anchor.header = flipped(anchor.header.to_vec(), random).into();
    }
}

/// Another resource or message, or a changed one, or one where there should be none.
fn given(case: &mut Case, world: &World, random: &mut Random) {
    let other = random.of(&world.records);
    match random.below(8) {
        0 => case.resource = Some(other.resource.clone()),
        1 => case.raw = Some(other.raw.clone().unwrap_or_default()),
        2 => case.resource = case.resource.take().map(|bytes| flipped(bytes, random)),
        3 => case.raw = case.raw.take().map(|bytes| flipped(bytes, random)),
        4 => {
            case.resource =
                Some(random.of(&["", "{}", "[1]", "{\"a\":1,\"a\":2}", "\u{feff}{}", "null"]).as_bytes().to_vec())
        }
        // The same in another spelling: it holds.
        5 => {
            let spaced = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(':', " :\n ").replace('Z', "\\u005a");
            case.resource = case.resource.take().map(|bytes| spaced(bytes).into_bytes());
        }
        // Another value, which to a reader of numbers or of folded text may be the same.
        6 => {
            let pairs =
                [("1.00", "1.0"), ("1E+5", "100000"), ("-0", "0"), ("ë", "e\u{308}"), ("true", "false"), ("93", "92")];
            let other = |text: String| pairs.iter().fold(text, |text, (from, to)| text.replace(from, to));
            case.resource =
                case.resource.take().map(|bytes| other(String::from_utf8_lossy(&bytes).into()).into_bytes());
        }
        _ => (case.resource, case.raw) = (None, None),
    }
}

/// Somebody who trusts others.
fn trusted(policy: &mut Policy, world: &World, random: &mut Random) {
    match random.below(9) {
        6 => policy.validators.iter_mut().for_each(|set| set.chain_id ^= 1),
        7 => policy.validators.iter_mut().for_each(|set| _ = set.addresses.pop_first()),
        // A set that the chain had once, or will have.
        8 => {
            let mut other = policy.validators.clone();
            other.iter_mut().for_each(|set| _ = set.addresses.insert(Address::from_word(random.bytes().into())));
            let swap = random.one_in(2);
            policy.validators = if swap { other } else { [other, policy.validators.clone()].concat() };
        }
        0 => policy.log_keys = vec![format!("{}x", world.signer.key())],
        1 => policy.log_keys.push("other".into()),
        2 => policy.blocks.iter_mut().for_each(|block| block.0[3] ^= 1),
        3 => policy.blocks.push(random.bytes().into()),
        4 => policy.contracts.iter_mut().for_each(|contract| contract.chain_id += 1),
        _ => policy.contracts.iter_mut().for_each(|contract| contract.code_hash = Some(random.bytes().into())),
    }
}

/// The same receipt in a spelling that may not be.
fn spelled(receipt: &Receipt, random: &mut Random) -> Vec<u8> {
    let text = serde_json::to_string(receipt).unwrap();
    let text = match random.below(12) {
        0 => text.replacen('{', "{\"opening\":null,", 1),
        1 => text.replacen("\"entry\":\"01", "\"entry\":\"01\",\"entry\":\"01", 1),
        2 => text.replace("\"0x", "\"0X"),
        3 => text.replace("\"0x", "\""),
        4 => text.replacen("abc", "ABC", 1),
        5 => text.replace("\":", "\" : \n\t"),
        6 => text.replace("Patient", "P\\u0061tient"),
        7 => text + if random.one_in(2) { " \n" } else { " x" },
        8 => text.replace("\"size\":", "\"size\":0"),
        9 => text.replacen("\"chainId\":1", "\"chainId\":1e0,\"x\":1", 1),
        10 => format!("\u{feff}{text}"),
        _ => text.chars().take(text.len() / 2).collect(),
    };
    text.into_bytes()
}

/// The proof's text: its lines, its place, its checkpoint.
fn proof(receipt: &mut Receipt, world: &World, random: &mut Random) {
    let text = receipt.proof.clone();
    let (head, note) = text.split_once("\n\n").unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_owned).collect();
    let mut note = note.to_owned();
    match random.below(14) {
        0 => lines.insert(1, "extra anything".into()),
        1 => lines.insert(1, "extra ".into()),
        2 => lines.insert(1, "extra".into()),
        3 => lines.push(lines.last().cloned().unwrap_or_default()),
        4 => drop(lines.pop()),
        5 => lines[1] = format!("index {}", random.below(100)),
        6 => lines[1] = format!("{} ", lines[1]),
        7 => lines.swap(0, 1),
        8 => note = world.checkpoint(1),
        9 => note = note.replacen("\n\n", "\nmore\n\n", 1),
        10 => note.push_str("— other.example/witness AAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"),
        11 => note.push_str("— broken\n"),
        12 => note = note.replacen('\n', "\r\n", 1),
        _ => note.push_str(note.clone().lines().last().unwrap_or_default()),
    }
    receipt.proof = format!("{}\n\n{note}", lines.join("\n"));
}

/// One member with another value: of its own type, of another one, away, or from another receipt.
fn member(value: &mut Value, world: &World, random: &mut Random) {
    let other = serde_json::to_value(world.case(random).receipt).unwrap();
    let mut places = Vec::new();
    walk(value, String::new(), &mut places);
    let place = random.of(&places).clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let elsewhere = other.pointer(&place).cloned();
    let at = value.pointer_mut(&place).unwrap();
    match (random.below(6), at.clone()) {
        (0 | 1, _) if elsewhere.is_some() => *at = elsewhere.unwrap_or_default(),
        (2, Value::String(text)) => *at = json!(text.chars().take(text.chars().count() / 2).collect::<String>()),
        (3, Value::String(text)) => *at = json!(format!("{text}00")),
        (2 | 3, Value::Array(mut list)) if !list.is_empty() => {
            let item = random.of(&list).clone();
            list.extend(std::iter::repeat_n(item, if random.one_in(2) { 1 } else { 70 }));
            *at = json!(list);
        }
        (2 | 3, Value::Number(number)) => *at = json!(number.as_u64().unwrap_or(0) ^ 1),
        (4, _) => {
            *at = random.of(&[json!(null), json!(""), json!(-1), json!(1.5), json!([]), json!({}), json!("0x")]).clone()
        }
        _ => match value.pointer_mut(parent).unwrap() {
            Value::Object(members) => drop(members.remove(name)),
            Value::Array(list) => drop(list.remove(name.parse().unwrap())),
            _ => {}
        },
    }
}

/// The JSON pointers of everything below.
fn walk(value: &Value, place: String, places: &mut Vec<String>) {
    let mut below = |name: &str, inner: &Value| {
        let place = format!("{place}/{name}");
        places.push(place.clone());
        walk(inner, place, places);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, inner)| below(name, inner)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, inner)| below(&n.to_string(), inner)),
        _ => {}
    }
}
