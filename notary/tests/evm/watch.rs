//! `medseal-verify log` and `medseal-verify --rpc`, the program itself, against a log on a server and a chain.

use crate::anvil::{Anvil, Proxy};
use crate::sample::{Sample, entry, resource};
use crate::tiles::{Tiles, files};
use crate::{Chain, Log};
use notary::anchor::ChainKind;
use notary::checkpoint::LogSigner;
use notary::commitment::Entry;
use notary::tree::LeafHash;
use notary::witness::{Witness, with_cosignatures};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Mutex;

const SIZE: u64 = 700;

/// Runs the program while the servers of this test go on; its exit code and what it says.
async fn run(arguments: Vec<String>) -> (i32, Value) {
    let program = env!("CARGO_BIN_EXE_medseal-verify");
    let ran = move || Command::new(program).args(arguments).output().unwrap();
    let output = tokio::task::spawn_blocking(ran).await.unwrap();
    let said =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| json!(String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), said)
}

fn log_of(size: u64, changed: Option<u64>) -> (Sample, Vec<Entry>) {
    let of = |n| if Some(n) == changed { entry(n + 1_000_000) } else { entry(n) };
    let entries: Vec<Entry> = (0..size).map(of).collect();
    (Sample::of(entries.iter().copied()), entries)
}

async fn log(tiles: &Tiles, more: &[&str]) -> (i32, Value) {
    let (key, url) = (Sample::new(0).signer.key().to_string(), tiles.url());
    let arguments = ["log", &url, "--key", &key, "--json"].into_iter().chain(more.iter().copied());
    run(arguments.map(str::to_owned).collect()).await
}

#[tokio::test]
async fn a_log_that_was_tampered_with_is_refused_by_name_and_place() {
    let (sample, entries) = log_of(SIZE, None);
    let tiles = Tiles::serve(files(&sample, &entries)).await;
    let (code, said) = log(&tiles, &[]).await;
    assert_eq!((code, &said["verdict"], &said["entries"]["resource"]), (0, &json!("FITS"), &json!(SIZE)), "{said}");
    let flipped = |path: &str, at: usize| {
        let mut bytes = tiles.get(path);
        bytes[at] ^= 1;
        Some(bytes)
    };
    let other = LogSigner::from_seed("test.example/log", &[8; 32]).unwrap();
    let foreign = other.sign(SIZE, sample.root()).unwrap().into_bytes();
    let longer = sample.signer.sign(SIZE + 1, sample.root()).unwrap().into_bytes();
    let rooted = sample.signer.sign(SIZE, Sample::new(3).root()).unwrap().into_bytes();
    let last = "tile/entries/002.p/188";
    let cases = [
        (
            "tile/0/001",
            flipped("tile/0/001", 9 * 32),
            "TILE-FORGED",
            json!({"entries": [265, 265], "tile": "tile/0/001"}),
        ),
        (
            "tile/entries/001",
            flipped("tile/entries/001", 9 * 37 + 30),
            "TILE-FORGED",
            json!({"entries": [265, 265], "tile": "tile/0/001"}),
        ),
        (
            "tile/1/000.p/2",
            flipped("tile/1/000.p/2", 33),
            "TILE-FORGED",
            json!({"entries": [256, 511], "tile": "tile/1/000.p/2"}),
        ),
        (
            "tile/entries/000",
            flipped("tile/entries/000", 2),
            "ENTRY-MALFORMED",
            json!({"entries": [0, 0], "tile": "tile/entries/000"}),
        ),
        (last, None, "LOG-TRUNCATED", json!({"entries": [512, 699], "tile": last})),
        (last, Some(vec![0; 1_000_000]), "LOG-TRUNCATED", json!({"entries": [512, 699], "tile": last})),
        ("checkpoint", Some(longer), "LOG-TRUNCATED", json!({"entries": [512, 700], "tile": "tile/entries/002.p/189"})),
        ("checkpoint", Some(rooted), "ROOT-FORGED", json!({"entries": [0, 699]})),
        ("checkpoint", Some(foreign), "CHECKPOINT-FORGED", json!({})),
    ];
    for (path, bytes, name, place) in cases {
        let before = tiles.get(path);
        tiles.put(path, bytes);
        let (code, said) = log(&tiles, &[]).await;
        assert_eq!((code, &said["name"], &said["place"]), (1, &json!(name), &place), "{path}: {said}");
        tiles.put(path, Some(before));
    }
    // The log has grown, and what was not whole is gone: its beginning is in what is whole now.
    let (grown, more) = log_of(768, None);
    for path in ["tile/entries/002", "tile/0/002"] {
        tiles.put(&format!("{path}.p/188"), None);
        tiles.put(path, Some(files(&grown, &more)[path].clone()));
    }
    assert_eq!(log(&tiles, &[]).await.0, 0);
    tiles.put("checkpoint", Some(format!("Location: {}/checkpoint", tiles.url()).into_bytes()));
    let (code, said) = log(&tiles, &[]).await;
    assert!(code == 3 && why(&said).contains("status 302"), "no redirect is followed: {said}");
}

/// A chain on which the log is anchored at some sizes.
async fn anchored(sizes: &[u64]) -> Option<Chain> {
    let chain = Chain::start(&[]).await?;
    let (sender, mut log) = (chain.sender(), Log::default());
    for size in sizes {
        (log.tree.size()..*size).for_each(|n| log.tree.push(LeafHash::of(&entry(n).to_bytes())).unwrap());
        chain.settle(&sender, &log).await;
    }
    Some(chain)
}

#[tokio::test]
async fn a_log_that_does_not_fit_its_anchors_is_refused_by_name_and_place() {
    let Some(chain) = anchored(&[100, 400, SIZE]).await else { return };
    let (contract, id) = (chain.pins.contract.to_string(), chain.pins.chain_id.to_string());
    let proxy = Proxy::before(&chain.anvil).await;
    let of = |url: String| {
        vec!["--rpc".to_owned(), url, "--contract".into(), contract.clone(), "--chain-id".into(), id.clone()]
    };
    let check = async |tiles: &Tiles, urls: &[String]| {
        let mut arguments = of(urls[0].clone());
        urls[1..].iter().for_each(|url| arguments.extend(["--rpc".to_owned(), url.clone()]));
        log(tiles, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).await
    };
    let (honest, entries) = log_of(SIZE, None);
    let tiles = Tiles::serve(files(&honest, &entries)).await;
    let (code, said) = check(&tiles, &[chain.anvil.url(), proxy.url()]).await;
    let held = (code, &said["chain"]["anchors"], &said["chain"]["anchored"], &said["chain"]["nodes"]);
    assert_eq!(held, (0, &json!(3), &json!(SIZE), &json!(2)), "{said}");

    // A history that fits itself, and not what was anchored.
    let (rewritten, others) = log_of(SIZE, Some(150));
    let (code, said) = check(&Tiles::serve(files(&rewritten, &others)).await, &[chain.anvil.url()]).await;
    let place = json!({"entries": [100, 399], "anchor": 400});
    assert_eq!((code, &said["name"], &said["place"]), (1, &json!("LOG-REWRITTEN"), &place), "{said}");
    let (old, few) = log_of(500, None);
    let (code, said) = check(&Tiles::serve(files(&old, &few)).await, &[chain.anvil.url()]).await;
    assert_eq!((code, &said["name"], &said["place"]["anchor"]), (1, &json!("LOG-BEHIND"), &json!(SIZE)), "{said}");

    // A node that withholds events: all of them, or one in the middle that another node shows.
    proxy.fail(|question, answer| {
        let logs = question.contains("eth_getLogs") && !answer.is_empty();
        Some(if logs {
            r#"{"jsonrpc":"2.0","id":0,"result":[]}"#.replace(":0", &format!(":{}", id_of(question)))
        } else {
            answer
        })
    });
    let (code, said) = check(&tiles, &[proxy.url()]).await;
    assert_eq!((code, &said["name"], &said["place"]["anchor"]), (1, &json!("LOGS-WITHHELD"), &json!(SIZE)), "{said}");
    proxy.fail(|question, answer| Some(if question.contains("eth_getLogs") { without(&answer, 400) } else { answer }));
    let (code, said) = check(&tiles, &[chain.anvil.url(), proxy.url()]).await;
    assert_eq!((code, &said["name"], &said["place"]["anchor"]), (1, &json!("LOGS-WITHHELD"), &json!(400)), "{said}");
    assert!(said["why"].as_str().unwrap().contains(&proxy.port.to_string()), "{said}");
    // One that makes up a root.
    proxy.fail(|question, answer| {
        Some(if question.contains("eth_getLogs") { other_root(&answer, 100) } else { answer })
    });
    let (code, said) = check(&tiles, &[proxy.url()]).await;
    assert_eq!((code, &said["name"], &said["place"]["anchor"]), (1, &json!("EVENT-FORGED"), &json!(100)), "{said}");

    let Some(strange) = Anvil::start(&["--chain-id", "4711"]).await else { return };
    let (code, said) = check(&tiles, &[strange.url()]).await;
    assert_eq!((code, &said["name"]), (1, &json!("UNTRUSTED-CHAIN")), "{said}");
    drop(strange);
    let (code, said) = check(&tiles, &["http://127.0.0.1:9".into()]).await;
    assert_eq!((code, &said["verdict"]), (3, &json!("UNANSWERED")), "{said}");
    let (code, said) = check(&tiles, &["nowhere".into()]).await;
    assert_eq!((code, &said["verdict"]), (2, &json!("ERROR")), "an address that is none is no silence: {said}");
}

#[tokio::test]
async fn a_node_that_lies_does_not_keep_us_asking() {
    let Some(chain) = anchored(&[100]).await else { return };
    let (contract, id) = (chain.pins.contract.to_string(), chain.pins.chain_id.to_string());
    let (sample, entries) = log_of(100, None);
    let (tiles, proxy) = (Tiles::serve(files(&sample, &entries)).await, Proxy::before(&chain.anvil).await);
    let check = async || log(&tiles, &["--rpc", &proxy.url(), "--contract", &contract, "--chain-id", &id]).await;
    proxy.fail(|question, answer| {
        static FAR: Mutex<String> = Mutex::new(String::new());
        let mut far = FAR.lock().unwrap();
        Some(match question.contains("eth_getBlockByNumber") {
            // Asked for the block of that number, the node of the chain has none.
            true if answer.contains("\"result\":null") => {
                let mut again: Value = serde_json::from_str(&far).unwrap();
                again["id"] = id_of(question);
                again.to_string()
            }
            true if question.contains("latest") && !answer.is_empty() => {
                *far = far_away(&answer);
                far.clone()
            }
            _ => answer,
        })
    });
    let (code, said) = check().await;
    assert!(code == 3 && why(&said).contains("too many to ask for"), "{said}");
    // An event of a size that the contract's head has not come to.
    proxy.fail(|question, answer| Some(if question.contains("eth_getLogs") { larger(&answer) } else { answer }));
    let (code, said) = check().await;
    assert_eq!((code, &said["name"]), (1, &json!("EVENT-FORGED")), "{said}");
}

#[tokio::test]
async fn a_log_must_bear_the_cosignatures_that_the_policy_asks_for() {
    let (sample, entries) = log_of(10, None);
    let witness = |seed| Witness::from_seed("w.example/w", &[seed; 32]).unwrap();
    let note = sample.checkpoint();
    let cosigned = with_cosignatures(&note, &[witness(1).cosign(&note, 1_700_000_000).unwrap()]);
    let tiles = Tiles::serve(files(&sample, &entries)).await;
    let folder = tempfile::tempdir().unwrap();
    let check = async |witnesses: &[u8], needed: usize| {
        let keys: Vec<String> =
            witnesses.iter().map(|seed| format!("{:?}", witness(*seed).key().to_string())).collect();
        let path = folder.path().join("policy");
        std::fs::write(&path, format!("witnesses = [{}]\nwitnesses_needed = {needed}\n", keys.join(", "))).unwrap();
        log(&tiles, &["--policy", path.to_str().unwrap()]).await
    };
    let (code, said) = check(&[1], 1).await;
    assert_eq!((code, &said["name"]), (1, &json!("NOT-WITNESSED")), "it is not cosigned: {said}");
    tiles.put("checkpoint", Some(cosigned.into_bytes()));
    let (code, said) = check(&[1, 2], 1).await;
    assert_eq!((code, &said["witnesses"]), (0, &json!(["w.example/w"])), "{said}");
    let (code, said) = check(&[1, 2], 2).await;
    assert!(code == 1 && why(&said).contains("1 of the 2 witnesses"), "{said}");
    assert_eq!(check(&[2], 1).await.0, 1, "another's");
}

fn why(said: &Value) -> &str {
    said["why"].as_str().unwrap()
}

/// The same block at another number, with the hash that fits.
fn far_away(answer: &str) -> String {
    let Ok(mut read) = serde_json::from_str::<Value>(answer) else { return answer.to_owned() };
    let Some(block) = read.get_mut("result").filter(|block| block.is_object()) else { return answer.to_owned() };
    block["number"] = json!("0xffffffffff");
    let header: alloy_consensus::Header = serde_json::from_value(block.clone()).unwrap();
    block["hash"] = json!(header.hash_slow());
    read.to_string()
}

fn larger(answer: &str) -> String {
    events(answer, |list| list.iter_mut().for_each(|event| event["topics"][1] = json!(format!("0x{:064x}", u64::MAX))))
}

fn id_of(question: &str) -> Value {
    serde_json::from_str::<Value>(question).unwrap()["id"].clone()
}

/// Changes the events of an answer; an empty one is the proxy asking what becomes of the question.
fn events(answer: &str, change: impl FnOnce(&mut Vec<Value>)) -> String {
    let Ok(mut read) = serde_json::from_str::<Value>(answer) else { return answer.to_owned() };
    change(read["result"].as_array_mut().unwrap());
    read.to_string()
}

fn without(answer: &str, size: u64) -> String {
    events(answer, |list| list.retain(|event| crate::anvil::number(&event["topics"][1]) != size))
}

fn other_root(answer: &str, size: u64) -> String {
    let forge = |event: &mut Value| event["data"] = json!(format!("0x{}", "42".repeat(32)));
    events(answer, |list| list.iter_mut().filter(|e| crate::anvil::number(&e["topics"][1]) == size).for_each(forge))
}

#[tokio::test]
async fn nodes_confirm_a_receipts_block_or_say_that_it_is_foreign() {
    let Some(chain) = anchored(&[5]).await else { return };
    let log = Log { tree: Sample::new(5).tree, ..Log::default() };
    let view = chain.settle(&chain.sender(), &log).await;
    let bundle = view.last.bundle(ChainKind::Public, &chain.pins).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(at("receipt"), Sample::new(5).receipt(2, Some(bundle)).to_json()).unwrap();
    std::fs::write(at("unanchored"), Sample::new(5).receipt(2, None).to_json()).unwrap();
    std::fs::write(at("resource"), resource(2)).unwrap();
    let contract =
        |id| format!("[[contracts]]\nchain_id = {id}\naddress = \"{}\"\nkind = \"consortium\"\n", chain.pins.contract);
    std::fs::write(at("policy"), contract(chain.pins.chain_id)).unwrap();
    std::fs::write(at("other"), contract(1)).unwrap();
    std::fs::write(at("strict"), format!("blocks = [\"0x{}\"]\n", "11".repeat(32)) + &contract(chain.pins.chain_id))
        .unwrap();
    let check = async |receipt: &str, policy: &str, urls: &[String]| {
        let arguments = [&at(receipt), &at("resource"), "--json", "--policy", &at(policy)].map(str::to_owned);
        run(arguments.into_iter().chain(urls.iter().flat_map(|url| ["--rpc".to_owned(), url.clone()])).collect()).await
    };
    let silent = "http://127.0.0.1:9".to_owned();
    let (code, said) = check("receipt", "policy", &[]).await;
    assert_eq!((code, &said["verdict"]), (0, &json!("LOGGED")), "nobody was asked: {said}");
    for policy in ["policy", "strict"] {
        let (code, said) = check("receipt", policy, &[chain.anvil.url(), silent.clone()]).await;
        assert_eq!((code, &said["verdict"]), (0, &json!("ANCHORED-CONSORTIUM")), "{said}");
        assert!(said["restsOn"].to_string().contains("1 of 2 nodes asked have at its number"), "{said}");
        let (code, said) = check("receipt", policy, std::slice::from_ref(&silent)).await;
        assert_eq!((code, &said["verdict"]), (3, &json!("UNANSWERED")), "{policy}: {said}");
        let without = if policy == "policy" { json!("LOGGED") } else { Value::Null };
        assert_eq!(said["without"]["verdict"], without, "what holds without the node is told: {said}");
    }
    // What is refused without any node stays refused when none answers.
    for url in [chain.anvil.url(), silent] {
        let (code, said) = check("receipt", "other", &[url]).await;
        assert_eq!((code, &said["name"]), (1, &json!("UNTRUSTED-CHAIN")), "{said}");
    }
    let (code, said) = check("unanchored", "policy", &[chain.anvil.url()]).await;
    assert_eq!((code, &said["name"]), (1, &json!("NOT-ANCHORED")), "{said}");

    // Another history of the same chain, one that is not so far yet, and another chain.
    let Some(fork) = Anvil::start(&["--timestamp", "1700000000"]).await else { return };
    let (code, said) = check("receipt", "policy", &[fork.url()]).await;
    assert!(code == 3 && why(&said).contains("no block"), "{said}");
    fork.mine(20).await;
    let (code, said) = check("receipt", "policy", &[chain.anvil.url(), fork.url()]).await;
    assert_eq!((code, &said["name"]), (1, &json!("FOREIGN-BLOCK")), "{said}");
    drop(fork);
    let Some(strange) = Anvil::start(&["--chain-id", "4711"]).await else { return };
    let (code, said) = check("receipt", "policy", &[strange.url()]).await;
    assert!(code == 1 && said["why"].as_str().unwrap().contains("chain 4711"), "{said}");
}
