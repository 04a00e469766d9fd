//! Control messages come back as they were, and whatever else comes is told.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn topic() -> Topic {
    Topic {
        name: "md.trades".to_owned(),
        type_name: "md.trade".to_owned(),
        type_version: 3,
        type_fingerprint: 4,
        epoch: 5,
        cell: 64,
        capacity: 1 << 22,
        payload_at: 16,
        payload_align: 8,
        body_max: 1 << 20,
        stamps: true,
        description: "struct t { price: i64 }".into(),
    }
}

fn one_of_each() -> Vec<Control> {
    let marks = vec![Mark { source: "tokyo.md.5".to_owned(), sequence: 9 }, Mark { source: "x".into(), sequence: 0 }];
    let features = Features::ZSTD;
    vec![
        Control::Hello(Hello { versions: (1, 7), features, name: "tokyo".into(), sent_unix_ns: 6 }),
        Control::Welcome(Welcome { version: 1, features, name: "osaka".into() }),
        Control::Want(Want { want: 7, mode: Mode::AtMostOnce, compression: Features::LZ4, pattern: "md.>".into() }),
        Control::EndWant { want: 7, code: EndCode::NotAllowed, text: "not md.".into() },
        Control::Open(Open { flow: 1, mode: Mode::Latest, want: 7, topic: topic() }),
        Control::Open(Open { flow: 1, mode: Mode::Reliable, want: 0, topic: Topic::default() }),
        Control::Accept { flow: 1, start: StartAt::Live, marks },
        Control::Accept { flow: 1, start: StartAt::Earliest, marks: Vec::new() },
        Control::Credit { flow: 1, bytes: 1 << 40 },
        Control::Progress { flow: 1, received: 3, applied: 2, durable: 1 },
        Control::Ping { number: 1, sent_unix_ns: 2 },
        Control::Pong { number: 1, sent_unix_ns: 2, received_unix_ns: 3, answered_unix_ns: 4 },
        Control::EndFlow { flow: 1, code: EndCode::OtherType, text: "md.trade 3, not 4".into() },
        Control::Goodbye { code: EndCode::Done, text: String::new() },
    ]
}

#[test]
fn a_message_gives_back_what_it_was_made_of_and_says_where_it_ends() {
    let mut all = Vec::new();
    for message in one_of_each() {
        all.extend(message.encode());
    }
    let mut rest = &all[..];
    for message in one_of_each() {
        let (found, length) = Control::decode(rest).unwrap().unwrap();
        assert_eq!(found, Some(message));
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
}

#[test]
fn a_message_that_has_not_come_whole_is_waited_for() {
    for message in one_of_each() {
        let bytes = message.encode();
        for length in 0..bytes.len() {
            assert_eq!(Control::decode(&bytes[..length]), Ok(None), "{length} bytes of {message:?}");
        }
    }
}

#[test]
fn a_message_whose_fields_are_cut_is_none_and_more_behind_them_means_nothing() {
    for message in one_of_each() {
        let whole = message.encode();
        let fields = whole.len() - CONTROL_HEAD_BYTES;
        for shorter in 0..fields {
            let mut bytes = whole[..CONTROL_HEAD_BYTES + shorter].to_vec();
            bytes[..4].copy_from_slice(&(shorter as u32).to_le_bytes());
            assert!(Control::decode(&bytes).is_err(), "{shorter} bytes of {message:?}");
        }
        let mut longer = [&whole[..], &[7; 5]].concat();
        longer[..4].copy_from_slice(&(fields as u32 + 5).to_le_bytes());
        assert_eq!(Control::decode(&longer), Ok(Some((Some(message), longer.len()))));
    }
}

#[test]
fn a_kind_of_a_later_version_is_passed_over_and_an_end_of_one_is_some_other() {
    let mut bytes = Control::Ping { number: 1, sent_unix_ns: 2 }.encode();
    bytes[4..6].copy_from_slice(&999_u16.to_le_bytes());
    assert_eq!(Control::decode(&bytes), Ok(Some((None, bytes.len()))));
    let mut bytes = Control::Goodbye { code: EndCode::Done, text: String::new() }.encode();
    bytes[CONTROL_HEAD_BYTES..CONTROL_HEAD_BYTES + 2].copy_from_slice(&4000_u16.to_le_bytes());
    let (found, _) = Control::decode(&bytes).unwrap().unwrap();
    assert_eq!(found, Some(Control::Goodbye { code: EndCode::Other, text: String::new() }));
}

#[test]
fn what_is_no_bridge_is_told_and_what_is_too_long_is_not_waited_for() {
    let mut hello = one_of_each()[0].encode();
    hello[CONTROL_HEAD_BYTES] ^= 1;
    assert!(Control::decode(&hello).unwrap_err().to_string().contains("isn't a bridge"));
    let http = Control::decode(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert!(http.to_string().contains("too long"), "{http}");
}

#[test]
fn a_long_text_is_cut_between_letters() {
    let text = "ü".repeat(1000);
    let bytes = Control::Goodbye { code: EndCode::Failed, text: format!("x{text}") }.encode();
    let Some((Some(Control::Goodbye { text: found, .. }), _)) = Control::decode(&bytes).unwrap() else { panic!() };
    assert_eq!(found, format!("x{}", "ü".repeat(511)));
}

#[test]
fn the_newest_common_version_is_spoken_or_none() {
    let hello = |versions| {
        let Control::Hello(hello) = one_of_each().remove(0) else { panic!() };
        Hello { versions, ..hello }
    };
    assert_eq!(common_version(&hello((1, 1))), Some(1));
    assert_eq!(common_version(&hello((1, 9))), Some(VERSION_MAX));
    assert_eq!(common_version(&hello((VERSION_MAX + 1, 9))), None);
    assert_eq!(common_version(&hello((0, 0))), None);
    assert_eq!(common_version(&hello((9, 1))), None, "the wrong way round");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0..12_u16, fields in vec(any::<u8>(), 0..200)) {
        let mut bytes = (fields.len() as u32).to_le_bytes().to_vec();
        bytes.extend(kind.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&fields);
        if let Ok(Some((Some(found), length))) = Control::decode(&bytes) {
            prop_assert_eq!(length, bytes.len());
            let again = found.encode();
            prop_assert_eq!(Control::decode(&again), Ok(Some((Some(found), again.len()))));
        }
    }
}
