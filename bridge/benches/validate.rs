//! What the check of a resource costs: on each write, and in `$validate`. Ten bundles of the Synthea corpus.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use bridge::fhir::validate::{examine, validate};
use divan::Bencher;
use divan::counter::ItemsCount;
use notary::canonical::Json;
use std::path::Path;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10)]
fn on_a_write(bencher: Bencher<'_, '_>) {
    let resources = resources();
    let bencher = bencher.counter(ItemsCount::new(resources.len()));
    bencher.with_inputs(|| resources.clone()).bench_values(|all| all.into_iter().all(|r| validate(r).is_ok()));
}

#[divan::bench(sample_count = 10)]
fn by_validate(bencher: Bencher<'_, '_>) {
    let resources = resources();
    let bencher = bencher.counter(ItemsCount::new(resources.len()));
    bencher.bench(|| resources.iter().all(|r| !examine(r).has_errors()));
}

/// None where the corpus is not here: then nothing is measured.
fn resources() -> Vec<Json> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/fhir/synthea-r4/plain");
    let Ok(files) = std::fs::read_dir(&folder) else {
        println!("skipped: the Synthea corpus is not here ({})", folder.display());
        return Vec::new();
    };
    let mut paths: Vec<_> = files.flatten().map(|f| f.path()).collect();
    paths.sort();
    let bundle = |path: &std::path::PathBuf| Json::parse(&std::fs::read(path).unwrap()).unwrap();
    let entries = |json: Json| json.get("entry").unwrap().items().to_vec();
    paths.iter().take(10).map(bundle).flat_map(entries).filter_map(|mut e| e.remove("resource")).collect()
}
