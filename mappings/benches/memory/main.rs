//! How much memory a message takes at most while it is parsed, mapped and written, in sizes of the message: of the mix that
//! `map` measures.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

#[path = "../mix/mod.rs"]
mod mix;
mod peak;

use mappings::maps::MapSet;

fn main() {
    let set = MapSet::embedded().unwrap();
    let mix = mix::messages(&set);
    let measured: Vec<_> = mix.iter().filter_map(|text| Some((text.len(), peak::times(&set, text)?))).collect();
    println!("memory at most, in sizes of the message, of {} messages:", measured.len());
    print("resources one by one", measured.iter().map(|(size, times)| (*size, times.one_by_one)).collect());
    print("the Bundle held whole", measured.iter().map(|(size, times)| (*size, times.bundle)).collect());
}

/// The mean is of the bytes: all messages' memory by all messages' sizes.
fn print(what: &str, mut times: Vec<(usize, f64)>) {
    times.sort_by(|a, b| a.1.total_cmp(&b.1));
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].1;
    let sizes: usize = times.iter().map(|(size, _)| size).sum();
    let mean = times.iter().map(|(size, times)| *size as f64 * times).sum::<f64>() / sizes as f64;
    println!("  {what}: mean {mean:.1}, median {:.1}, 95 % below {:.1}, most {:.1}", at(0.5), at(0.95), at(1.0));
}
