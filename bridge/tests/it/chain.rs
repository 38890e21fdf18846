//! Anchors on a real EVM node instead of the embedded ledger.

use super::anvil::{Anvil, KEY};
use super::stores;
use super::world::{World, admission, config, msa};
use bridge::commands::contracts::{Deploy, deployed};
use bridge::commands::serve;
use bridge::config::Config;
use notary::receipt::Receipt;
use notary::verify::{Grade, Policy, Refusal, TrustedContract, verify};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A chain that survives a kill, the contract on it by `medseal contracts deploy`, and the configuration that this prints.
pub(super) async fn chain(directory: &TempDir) -> Option<(Anvil, Config)> {
    let state = directory.path().join("chain").to_string_lossy().into_owned();
    let anvil = Anvil::start(&["--state", &state, "--state-interval", "1", "--preserve-historical-states"]).await?;
    let mut config = config(&directory.path().join("data"));
    std::fs::create_dir_all(&config.data).unwrap();
    let key = config.data.join("anchor.key");
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key).unwrap();
    std::io::Write::write_all(&mut file, hex::encode(KEY).as_bytes()).unwrap();
    let asked = Deploy { rpc: anvil.url(), key: None, kms: None, free_gas: false, max_fee_gwei: 300 };
    let printed = deployed(&config, &asked).await.unwrap();
    let printed =
        Config::parse(&printed.replace("\"finalized\"", "\"latest\"")).unwrap_or_else(|e| panic!("{e}: {printed}"));
    config.chain = printed.chain;
    Some((anvil, config))
}

/// Admits a patient and gives the receipt with its anchor, and the resource.
async fn admitted(world: &World, number: &str) -> (Receipt, Vec<u8>) {
    assert_eq!(msa(&world.send(&admission(number, number, "Lovelace")).await).0, "AA");
    let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
    let path = format!("/fhir/Patient/{}", patient["id"].as_str().unwrap());
    let receipt = world.anchored_receipt(&format!("{path}/$receipt")).await;
    (Receipt::parse(&receipt).unwrap(), world.bytes(&path).await.to_vec())
}

async fn readiness(world: &World) -> (u16, String) {
    let (status, body) = world.get("/readyz").await;
    (status, body["chain"].as_str().unwrap().to_owned())
}

fn config_of(world: &World) -> &bridge::config::Chain {
    world.running.app.config.chain.as_ref().unwrap()
}

async fn until(world: &World, wanted: (u16, &str)) {
    for _ in 0..1_500 {
        let (status, chain) = readiness(world).await;
        if (status, chain.as_str()) == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{:?} instead of {wanted:?}", readiness(world).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_rests_on_a_chain_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let Some((_anvil, config)) = chain(&directory).await else { return };
    let pins = config.chain.clone().unwrap().pins();
    let world = World::with(directory, config).await;
    let (receipt, resource) = admitted(&world, "7001").await;
    let trusted = TrustedContract {
        chain_id: pins.chain_id,
        address: pins.contract,
        code_hash: Some(pins.code_hash),
        kind: notary::anchor::ChainKind::Consortium,
    };
    let block = verify(&receipt, None, None, &Policy::default()).unwrap().anchored.unwrap().block_hash;
    let policy = Policy { contracts: vec![trusted], blocks: vec![block], ..Policy::default() };
    let verdict = verify(&receipt, Some(&resource), None, &policy).unwrap();
    assert_eq!(verdict.grade, Grade::AnchoredConsortium);
    let other = TrustedContract { chain_id: 1, ..trusted };
    let elsewhere = Policy { contracts: vec![other], blocks: vec![block], ..Policy::default() };
    assert_eq!(verify(&receipt, Some(&resource), None, &elsewhere), Err(Refusal::UntrustedChain));
    assert_eq!(readiness(&world).await, (200, "ok".to_owned()));
    let (_, state) = world.get("/log/status.json").await;
    let size = receipt.anchor.as_ref().unwrap().size;
    let shown = state["anchors"].as_array().unwrap().iter().find(|anchor| anchor["size"] == size).unwrap();
    let (gas, fee) = (shown["gas"].as_u64().unwrap(), shown["fee"].as_str().unwrap().parse::<u128>().unwrap());
    assert!((50_000..2_000_000).contains(&gas), "{shown}");
    let max = config_of(&world).max_fee();
    assert!(
        fee >= u128::from(gas) && fee <= u128::from(gas) * max,
        "at least one wei for a unit, and within the cap: {shown}"
    );
    // After a restart the receipt is there at once, from what was kept.
    let world = world.restarted().await;
    let again = world.anchored_receipt(&format!("/fhir/{}/$receipt", receipt.reference)).await;
    assert!(Receipt::parse(&again).unwrap().anchor.unwrap().size >= receipt.anchor.unwrap().size);
}

/// Where gas costs nothing a new key without money puts the contracts up, and anchors.
#[tokio::test(flavor = "multi_thread")]
async fn where_gas_is_free_nobody_needs_money() {
    let Some(anvil) = Anvil::start(&["--base-fee", "0"]).await else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    let asked = Deploy { rpc: anvil.url(), key: None, kms: None, free_gas: true, max_fee_gwei: 300 };
    let printed = deployed(&config, &asked).await.unwrap();
    config.chain = Config::parse(&printed.replace("\"finalized\"", "\"latest\"")).unwrap().chain;
    let world = World::with(directory, config).await;
    assert!(admitted(&world, "7001").await.0.anchor.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_away_keeps_nobody_waiting_and_is_caught_up_with() {
    let directory = tempfile::tempdir().unwrap();
    let Some((mut anvil, config)) = chain(&directory).await else { return };
    let world = World::with(directory, config).await;
    admitted(&world, "7101").await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    anvil.stop();
    for number in ["7102", "7103"] {
        assert_eq!(msa(&world.send(&admission(number, number, "Lovelace")).await).0, "AA");
    }
    until(&world, (200, "behind")).await;
    let world = world.restarted().await;
    assert_eq!(
        msa(&world.send(&admission("7104", "7104", "Lovelace")).await).0,
        "AA",
        "a start waits for no chain either"
    );
    anvil.again().await;
    until(&world, (200, "ok")).await;
    for number in ["7102", "7104"] {
        let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
        let receipt =
            world.anchored_receipt(&format!("/fhir/Patient/{}/$receipt", patient["id"].as_str().unwrap())).await;
        verify(&Receipt::parse(&receipt).unwrap(), None, None, &Policy::default()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_was_put_back_is_refused_even_when_the_chain_comes_late() {
    if stores::on_postgres() || stores::s3(Path::new("")).is_some() {
        return println!("skipped: it puts back a directory with all that there is");
    }
    let directory = tempfile::tempdir().unwrap();
    let Some((mut anvil, config)) = chain(&directory).await else { return };
    let (data, backup) = (directory.path().join("data"), directory.path().join("backup"));
    let world = World::with(directory, config.clone()).await;
    admitted(&world, "7201").await;
    let World { running, directory, .. } = world;
    running.stop().await;
    copy(&data, &backup);
    let world = World::with(directory, config.clone()).await;
    admitted(&world, "7202").await;
    let World { running, directory, .. } = world;
    running.stop().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    let refused = serve::start(config.clone()).await.err().expect("it starts on an older log").to_string();
    assert!(refused.contains("restored from an older backup"), "{refused}");
    // With the chain away it starts, and takes another course; when the chain comes back nothing more is signed.
    anvil.stop();
    let world = World::with(directory, config).await;
    assert_eq!(msa(&world.send(&admission("7203", "7203", "Hopper")).await).0, "AA");
    anvil.again().await;
    until(&world, (503, "contradiction")).await;
    // What was being signed when the contradiction came is shown yet.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let checkpoint = world.bytes("/log/checkpoint").await;
    world.send(&admission("7204", "7204", "Hopper")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(world.bytes("/log/checkpoint").await, checkpoint, "a log of another history is not signed");
}

fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}
