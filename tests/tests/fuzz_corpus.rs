//! The fuzz targets without a fuzzer: over the corpus that is kept, and over what comes of it by small changes at random.

#![forbid(unsafe_code)]

#[path = "../fuzz/src/extensions.rs"]
mod extensions;

use memlane_tests::random::Random;

/// Changes of each kept input.
const CHANGES: usize = 2_000;

#[test]
fn extensions_of_any_bytes_are_read_or_refused() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/extensions");
    let files = std::fs::read_dir(corpus).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap());
    let inputs: Vec<Vec<u8>> = files.collect();
    assert!(inputs.len() >= 8, "the corpus is there");
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    for input in &inputs {
        extensions::look_at(input);
        for _ in 0..CHANGES {
            extensions::look_at(&changed(input, &mut random));
        }
    }
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
