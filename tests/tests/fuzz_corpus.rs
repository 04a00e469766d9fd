//! The fuzz targets without a fuzzer: over the corpus that is kept, and over what comes of it by small changes at random.

#![forbid(unsafe_code)]

#[path = "../fuzz/src/bridge.rs"]
mod bridge;
#[path = "../fuzz/src/extensions.rs"]
mod extensions;
#[path = "../fuzz/src/journal.rs"]
mod journal;

use memlane_tests::random::Random;

/// Goes over the corpus of the target `name`, and so many changes of each input.
fn go_over(name: &str, changes: usize, look_at: fn(&[u8])) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(corpus).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let inputs: Vec<Vec<u8>> = files.collect();
    assert!(inputs.len() >= 3, "the corpus is there");
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    for input in &inputs {
        look_at(input);
        for _ in 0..changes {
            look_at(&changed(input, &mut random));
        }
    }
}

#[test]
fn extensions_of_any_bytes_are_read_or_refused() {
    go_over("extensions", 2000, extensions::look_at);
}

#[test]
fn a_manifest_of_any_bytes_is_read_or_refused() {
    go_over("manifest", 5000, journal::manifest);
}

#[test]
fn records_of_any_bytes_are_read_or_refused() {
    go_over("index", 300, journal::index);
}

#[test]
fn a_segment_of_any_bytes_is_read_or_refused() {
    go_over("segment", 300, journal::segment);
}

#[test]
fn a_compressed_block_of_any_bytes_is_read_or_refused() {
    go_over("compressed", 300, journal::compressed);
}

#[test]
fn a_control_stream_of_any_bytes_is_read_or_refused() {
    go_over("control", 2000, bridge::control);
}

#[test]
fn batches_of_any_bytes_are_unpacked_or_refused() {
    go_over("batch", 2000, bridge::batch);
}

#[test]
fn whatever_happens_to_a_connection_ends_it_or_is_passed_over() {
    go_over("connection", 2000, bridge::connection);
}

/// `input` with a few bytes changed, taken out, or put in.
fn changed(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(5) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 => bytes.insert(at, random.next_u64() as u8),
            2 => bytes.truncate(at),
            3 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            // Lengths and tags that matter.
            _ if at < bytes.len() => bytes[at] = *random.one_of(&[0, 1, 2, 4, 8, 9, 10, 16, 127, 255]),
            _ => {}
        }
    }
    bytes
}
