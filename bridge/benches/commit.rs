//! Seals and commits resources through the group commit: on disk with every fsync, and in memory (tmpfs), where a sync costs
//! nothing.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use bridge::commands::serve;
use bridge::commit::{Author, Transaction};
use bridge::config::Config;
use bridge::fhir::validate::validate;
use bridge::fhir::write::{Act, Write};
use bridge::ingest::commit;
use divan::Bencher;
use divan::counter::ItemsCount;
use notary::canonical::Json;
use std::net::SocketAddr;
use std::path::Path;

const OBSERVATION: &str = r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"29463-7"}]},
    "subject":{"reference":"Patient/p"},"valueQuantity":{"value":72.50,"unit":"kg"}}"#;

fn main() {
    divan::main();
}

#[divan::bench(args = [("disk, with fsync", 1), ("disk, with fsync", 32), ("memory", 1), ("memory", 32)], sample_count = 20)]
fn transactions_of_ten(bencher: Bencher<'_, '_>, (place, at_once): (&str, usize)) {
    const TEN: usize = 10;
    let directory = if place == "memory" {
        tempfile::tempdir_in("/dev/shm")
    } else {
        tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
    }
    .unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let running = runtime.block_on(serve::start(config(directory.path()))).unwrap();
    let app = &running.app;
    bencher.counter(ItemsCount::new(at_once * TEN)).bench(|| {
        runtime.block_on(async {
            let commits = (0..at_once).map(|_| {
                commit(
                    app,
                    Transaction { by: Author::Service, writes: (0..TEN).map(|_| write()).collect(), message: None },
                )
            });
            for outcome in futures_util::future::join_all(commits).await {
                outcome.unwrap();
            }
        });
    });
    runtime.block_on(running.stop());
}

fn config(data: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { data: data.to_owned(), http: any, mllp: any, ..Config::default() }
}

fn write() -> Write {
    let resource = validate(Json::parse(OBSERVATION.as_bytes()).unwrap()).unwrap();
    Write::alone(Act::Create { resource, if_none_exist: None })
}
