//! Every message and resource of the corpora, where they are present.

use super::world::{World, corpora, msa};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files that the corpora's index names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let path = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        folder.join(row["repo"].as_str().unwrap()).join(row["file"].as_str().unwrap())
    };
    let mut paths: Vec<_> = index.lines().map(path).filter(|p| p.is_file()).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_answered_well_formed() {
    let Some(corpora) = corpora() else { return };
    let world = World::new().await;
    let paths = files(&corpora.join("hl7v2"));
    let mut connection = world.mllp().await;
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    let mut sent = 0;
    for path in &paths {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        for message in bridge::commands::send::split(&text) {
            let ack =
                connection.exchange(message.as_bytes()).await.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let (code, id) = msa(&ack);
            sent += 1;
            if let Ok(parsed) = mappings::parse::Message::parse(&message) {
                assert_eq!(id, parsed.header(10), "{}", path.display());
                let expected = parsed.header(16).trim() == "AL" && !matches!(parsed.header(15).trim(), "" | "NE");
                if expected {
                    // Enhanced mode asked for both acknowledgements: take the second one off the wire.
                    connection = world.mllp().await;
                }
            }
            *codes.entry(code).or_default() += 1;
        }
    }
    println!("{sent} messages of {} files: {codes:?}", paths.len());
    assert!(sent > 800, "{sent}");
    assert!(codes.keys().all(|c| ["AA", "AE", "AR", "CA", "CE", "CR"].contains(&c.as_str())), "{codes:?}");
    assert!(codes["AA"] > 300, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn synthea_bundles_load_and_read_back_digit_for_digit() {
    let Some(corpora) = corpora() else { return };
    let world = World::new().await;
    let folder = corpora.join("fhir/synthea-r4");
    let mut paths: Vec<_> = walk(&folder).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    paths.sort_by_key(|p| std::fs::metadata(p).map_or(0, |m| m.len()));
    let mut loaded = 0;
    for path in paths.iter().take(12) {
        let text = std::fs::read_to_string(path).unwrap();
        let Ok(sent) = notary::canonical::Json::parse(text.as_bytes()) else { continue };
        if sent.text("type") != Some("transaction") {
            continue;
        }
        let (status, answer) = world.call("POST", "/fhir", &text).await;
        assert_eq!(status, 200, "{}: {answer}", path.display());
        for (entry, answer) in sent.get("entry").unwrap().items().iter().zip(answer["entry"].as_array().unwrap()) {
            let location = answer["response"]["location"].as_str().unwrap();
            let path = format!("/fhir/{}", location.split("/fhir/").nth(1).unwrap());
            let read = notary::canonical::Json::parse(&world.bytes(&path).await).unwrap();
            let content = |json: &notary::canonical::Json| {
                let mut json = json.clone();
                ["id", "meta"].iter().for_each(|n| _ = json.remove(n));
                // References are resolved: everything else is as it was sent.
                let erase = &mut |_: &str| Ok::<_, ()>(Some(String::new()));
                bridge::fhir::references::rewrite(&mut json, erase).unwrap();
                json.canonical()
            };
            assert_eq!(content(&read), content(entry.get("resource").unwrap()), "{path}");
            loaded += 1;
        }
    }
    println!("{loaded} resources read back");
    assert!(loaded > 100, "{loaded}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<_> =
        std::fs::read_dir(folder).map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    entries.into_iter().flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}
