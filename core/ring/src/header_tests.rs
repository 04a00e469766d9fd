//! Headers: what a page gives back, and what is refused.

use super::*;

fn header() -> Header {
    Header {
        options: TopicOptions {
            publishers: Publishers::Many(7),
            payload_max: Some(1000),
            rate_limit: RateLimit::default().messages(1000, 10).bytes(1 << 20, 1 << 16),
            lossy_only: true,
            journaled: true,
            stamps: true,
            last_values: Some(LastValuesOptions { keys_max: 9, message_bytes_max: 500 }),
            message_type: TypeTag { name: "md.trade".into(), version: 3, fingerprint: 99 },
            ..TopicOptions::default()
        },
        epoch: 42,
        created_unix_ns: 5,
        calibration: Calibration { source: TickSource::Counter, base_ticks: 1, base_unix_ns: 2, ns_per_tick: 3 },
    }
}

#[test]
fn a_page_gives_back_the_header() {
    let header = header();
    assert_eq!(Header::from_page(&header.to_page()).unwrap(), header);
    header.check_subs_page(&header.to_subs_page()).unwrap();
    header.check_last_page(&header.to_last_page()).unwrap();
}

#[test]
fn a_flipped_bit_anywhere_in_the_page_is_found() {
    let page = header().to_page();
    for bit in 0..page.len() * 8 {
        let mut flipped = page.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Header::from_page(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn another_abi_and_another_topics_subs_are_told() {
    let header = header();
    let mut page = header.to_page();
    page[at::ABI] = 9;
    assert_eq!(Header::from_page(&page).unwrap_err(), HeaderError::OtherAbi { found: 9 });
    let other = Header { epoch: 43, ..header.clone() };
    assert_eq!(header.check_subs_page(&other.to_subs_page()).unwrap_err(), HeaderError::Mixed);
    assert_eq!(header.check_subs_page(&page).unwrap_err(), HeaderError::NotMemlane);
}

#[test]
fn options_that_cant_be_are_named() {
    let named = |options: TopicOptions| match options.geometry().unwrap_err() {
        TopicError::BadOption { option, .. } => option,
        other => panic!("{other}"),
    };
    let default = TopicOptions::default;
    assert_eq!(named(TopicOptions { capacity: 5000, ..default() }), "capacity");
    assert_eq!(named(TopicOptions { cell: 16, ..default() }), "cell");
    assert_eq!(named(TopicOptions { cell: 4096, capacity: 65536, ..default() }), "cell");
    assert_eq!(named(TopicOptions { payload_align: 12, ..default() }), "payload_align");
    assert_eq!(named(TopicOptions { publishers: Publishers::Many(1025), ..default() }), "publishers_max");
    assert_eq!(named(TopicOptions { subscribers_max: 0, ..default() }), "subscribers_max");
    assert_eq!(named(TopicOptions { payload_max: Some(2 << 20), ..default() }), "payload_bytes_max");
    assert_eq!(named(TopicOptions { payload_max: Some(0), ..default() }), "payload_bytes_max");
    let last = |keys_max, message_bytes_max| TopicOptions {
        last_values: Some(LastValuesOptions { keys_max, message_bytes_max }),
        ..default()
    };
    assert_eq!(named(last(0, 100)), "last_values' keys_max");
    assert_eq!(named(last(1 << 21, 100)), "last_values' keys_max");
    assert_eq!(named(last(1, 15)), "last_values' message_bytes_max");
    assert_eq!(named(last(1, 2 << 20)), "last_values' message_bytes_max");
}
